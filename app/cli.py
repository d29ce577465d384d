"""The command line: python -m app serve, migrate, jobs, worker."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Annotated, NoReturn, TypeVar

import typer
import uvicorn
from alembic.util.exc import CommandError
from pydantic import SecretStr, ValidationError

from app import embedded, schema, worker
from app.core import logging
from app.core.errors import ServiceError
from app.core.sqlstate import FAILURES
from app.embedded.processes import with_us
from app.main import create_app
from app.settings import Settings, describe

GRACE_PERIOD = 10  # seconds that requests in flight get when the server is told to stop
T = TypeVar("T")
cli = typer.Typer(
    help="Bookshelf: authors, books, documents and users over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JOB_NAMES = ", ".join(job.name for job in worker.JOBS)
jobs = typer.Typer(help="The scheduled jobs.", no_args_is_help=True)
cli.add_typer(jobs, name="jobs")


@cli.command()
def serve(
    *,
    migrate: Annotated[bool, typer.Option(help="First bring the schema up to date.")] = False,
    worker: Annotated[bool, typer.Option(help="Run the scheduled jobs beside it.")] = False,
) -> None:
    """Serve HTTP until Ctrl-C. Without DATABASE_URL and S3_BUCKET it starts its own of both."""
    settings = _settings()
    with _listening(settings) as listener, _parts(settings) as connected:
        if migrate or settings.database_url is None:
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
        with _beside("worker", connected) if worker else nullcontext():
            _announce(settings, listener)
            server.run(sockets=[listener])


@cli.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="The revision to upgrade to.")] = "head",
) -> None:
    """Bring the database's schema up to date."""
    settings = _settings()
    with ExitStack() as stack:
        connected = _with_database(settings, stack)
        _upgrade(connected, revision)
        typer.echo(f"The schema is at {revision}.")


@cli.command(name="worker")
def run_worker() -> None:
    """Run the scheduled jobs at their times, until Ctrl-C."""
    with _parts(_settings()) as connected:
        asyncio.run(worker.work(connected))


@jobs.command(name="run", help=f"Run a scheduled job now: {JOB_NAMES}.")
def run_job(name: str) -> None:
    found = next((job for job in worker.JOBS if job.name == name), None)
    if found is None:
        _fail(f"there is no job {name}; there is {JOB_NAMES}")

    async def work(connected: Settings) -> str:
        async with worker.opened(connected) as parts:
            done = await found.run(parts.database, parts, anyway=True)
            return done or _fail(f"another process is at {name}")

    with _parts(_settings()) as connected:
        try:
            typer.echo(asyncio.run(work(connected)))
        except ServiceError as error:
            _fail(str(error))


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
def _parts(settings: Settings) -> Iterator[Settings]:
    """Settings with a database and a store: those they name, or our own while the block lasts."""
    with ExitStack() as stack:
        yield _with_store(_with_database(settings, stack), stack)


def _with_database(settings: Settings, stack: ExitStack) -> Settings:
    if settings.database_url is not None:
        return settings
    server = _entered(stack, embedded.postgres(settings.data_dir))
    return settings.model_copy(update={"database_url": SecretStr(server.url())})


def _with_store(settings: Settings, stack: ExitStack) -> Settings:
    if settings.s3_bucket is not None:
        return settings
    store = _entered(stack, embedded.s3(settings.data_dir))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):  # of another store's account
        os.environ.pop(name, None)
    os.environ.update(store.environment())
    changes = {"s3_endpoint_url": store.endpoint, "s3_bucket": embedded.BUCKET}
    return settings.model_copy(update=changes)


def _entered(stack: ExitStack, part: AbstractContextManager[T]) -> T:
    try:
        return stack.enter_context(part)
    except embedded.EmbeddedError as error:
        _fail(str(error))


def _upgrade(settings: Settings, revision: str) -> None:
    url = settings.sqlalchemy_url
    try:
        schema.upgrade(url, revision)
    except (*FAILURES, CommandError) as error:
        _fail(f"cannot migrate {url}: {getattr(error, 'orig', error)}")


@contextmanager
def _beside(command: str, settings: Settings) -> Iterator[None]:
    """Another process of ours, with the same database and store, until the block ends."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    given = {"DATABASE_URL": url, "S3_ENDPOINT_URL": settings.s3_endpoint_url or ""}
    environment = {**os.environ, **given, "S3_BUCKET": settings.s3_bucket or ""}
    program = [*with_us(), sys.executable, "-m", "app", command]
    process = subprocess.Popen(program, env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _announce(settings: Settings, listener: socket.socket) -> None:
    """What was started, where the data lies and what to try."""
    host, port = listener.getsockname()[:2]
    origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    kept = f"of its own, data in {settings.data_dir.resolve()}"
    database, store = f"a Postgres {kept}", f"an S3 server {kept}"
    if settings.database_url is not None:
        database = str(settings.sqlalchemy_url)
    if settings.s3_bucket is not None:
        store = f"{settings.s3_bucket} at {settings.s3_endpoint_url or 'Amazon S3'}"
    typer.echo(f"Bookshelf serves {origin} (Ctrl-C stops it)")
    typer.echo(f"  database  {database}")
    typer.echo(f"  files     {store}")
    typer.echo(f"  look at   {origin}/docs")
    typer.echo(f"  or try    curl {origin}/books")
