"""The command line: python -m app serve, migrate."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
import uvicorn
from alembic.util.exc import CommandError
from pydantic import SecretStr, ValidationError

from app import embedded, schema
from app.core import logging
from app.core.sqlstate import FAILURES
from app.main import create_app
from app.settings import Settings, describe

GRACE_PERIOD = 10  # seconds that requests in flight get when the server is told to stop
cli = typer.Typer(
    help="Bookshelf: authors, books and users over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.command()
def serve(
    *, migrate: Annotated[bool, typer.Option(help="First bring the schema up to date.")] = False
) -> None:
    """Serve HTTP until Ctrl-C. Without DATABASE_URL a Postgres of its own is started."""
    settings = _settings()
    own = settings.database_url is None
    with _listening(settings) as listener, _database(settings) as connected:
        if migrate or own:
            _upgrade(connected, "head")
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(connected),
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=GRACE_PERIOD,
            )
        )
        _announce(connected, listener, own=own)
        server.run(sockets=[listener])


@cli.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="The revision to upgrade to.")] = "head",
) -> None:
    """Bring the database's schema up to date."""
    with _database(_settings()) as connected:
        _upgrade(connected, revision)
        typer.echo(f"The schema is at {revision}.")


def main() -> None:
    """Run a command. A SIGTERM or the end of the terminal ends it like Ctrl-C."""
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
        _fail(f"wrong settings\n{describe(error)}")
    logging.configure(settings.log_level)
    return settings


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The server's socket, taken before anything is started for it."""
    address = (settings.host, settings.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(address, family=family)
    except socket.gaierror:
        _fail(f"there is no address {settings.host} to listen on: set HOST")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        _fail(f"cannot listen on {settings.host}:{settings.port} ({reason}): set PORT")
    with listener:
        yield listener


@contextmanager
def _database(settings: Settings) -> Iterator[Settings]:
    """Settings with a database: the one they name, or our own for as long as the block lasts."""
    if settings.database_url is not None:
        yield settings
        return
    try:
        with embedded.postgres(settings.data_dir) as server:
            yield settings.model_copy(update={"database_url": SecretStr(server.url())})
    except embedded.EmbeddedError as error:
        _fail(str(error))


def _upgrade(settings: Settings, revision: str) -> None:
    url = settings.sqlalchemy_url
    try:
        schema.upgrade(url, revision)
    except (*FAILURES, CommandError) as error:
        _fail(f"cannot migrate {url}: {getattr(error, 'orig', error)}")


def _announce(settings: Settings, listener: socket.socket, *, own: bool) -> None:
    """What was started, where the data lies and what to try."""
    host, port = listener.getsockname()[:2]
    origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    database = f"a Postgres of its own, data in {settings.data_dir.resolve()}"
    typer.echo(f"Bookshelf serves {origin} (Ctrl-C stops it)")
    typer.echo(f"  database  {database if own else settings.sqlalchemy_url}")
    typer.echo(f"  look at   {origin}/docs")
    typer.echo(f"  or try    curl {origin}/books")
