"""The command line: python -m app serve, migrate."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, NoReturn

import typer
import uvicorn
from alembic.util.exc import CommandError
from pydantic import SecretStr, ValidationError

from app import embedded, migrations
from app.core import logging as log
from app.core.sqlstate import FAILURES
from app.main import create_app
from app.settings import Settings, describe

GRACE_PERIOD = 10  # seconds for requests in flight when the server is told to stop

cli = typer.Typer(
    help="Bookshelf: authors, books and users over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def serve(
    *,
    migrate: Annotated[bool, typer.Option(help="First bring the schema up to date.")] = False,
) -> None:
    """Serve HTTP until Ctrl-C. Without DATABASE_URL a Postgres of its own is started."""
    settings = _settings()
    with _listening(settings) as listener, _database(settings, migrate=migrate) as connected:
        _announce(connected, listener, own=settings.database_url is None)
        config = uvicorn.Config(
            create_app(connected),
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=GRACE_PERIOD,
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
        if not server.started:
            raise typer.Exit(1)


@cli.command("migrate")
def run_migrations(
    revision: Annotated[str, typer.Argument(help="The revision to upgrade to.")] = "head",
) -> None:
    """Bring the database's schema up to date."""
    with _database(_settings(), migrate=False) as connected:
        _upgrade(connected, revision)
        typer.echo(f"The schema is at {revision}.")


def main() -> None:
    """Run a command; the end of a terminal or a SIGTERM ends it like Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _leave)
    cli()


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"bookshelf: {sentence}", err=True)
    raise typer.Exit(1)


def _settings() -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        _fail(f"these settings are wrong\n{describe(error)}")
    log.configure(settings.log_level)
    return settings


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The server's socket, taken before anything is started for it."""
    address = f"{settings.host}:{settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        _fail(f"cannot listen on {address}: {error.strerror}. Set HOST or PORT.")
    with listener:
        yield listener


@contextmanager
def _database(settings: Settings, *, migrate: bool) -> Iterator[Settings]:
    """Settings with a database: the one they name, or our own for as long as the block lasts."""
    with ExitStack() as stack:
        own = settings.database_url is None
        if own:
            try:
                server = stack.enter_context(embedded.postgres(settings.data_dir))
            except embedded.EmbeddedError as error:
                _fail(str(error))
            settings = settings.model_copy(update={"database_url": SecretStr(server.url)})
        if migrate or own:
            _upgrade(settings, "head")
        yield settings


def _upgrade(settings: Settings, revision: str) -> None:
    url = settings.sqlalchemy_url
    try:
        migrations.upgrade(url, revision)
    except FAILURES as error:
        reason = getattr(error, "orig", None) or error
        _fail(f"cannot migrate {url.render_as_string(hide_password=True)}: {reason}")
    except CommandError as error:
        _fail(str(error))


def _announce(settings: Settings, listener: socket.socket, *, own: bool) -> None:
    """What was started, where the data lies and what to try."""
    host, port = listener.getsockname()[:2]
    origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    where = settings.sqlalchemy_url.render_as_string(hide_password=True)
    data = f"its own Postgres, data in {settings.data_dir.resolve()}" if own else where
    typer.echo(f"Bookshelf on {origin}  (Ctrl-C stops it)")
    typer.echo(f"  database   {data}")
    typer.echo(f"  look       {origin}/docs")
    typer.echo(f"  try        curl {origin}/books")
