"""Functions that all commands share: load settings, prepare backends, report errors.

The backends are the database and the object store. A command uses those that the settings name. If
they name none, the command starts an embedded server, and stops it at its end.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import SecretStr, ValidationError

from app import NAME, embedded
from app.core.db import (
    DATABASE_AND_OS_ERRORS,
    DATABASE_ERRORS,
    Database,
    TransactionSession,
    find_database_problem,
)
from app.core.errors import ServiceError
from app.core.observability import configure_logging, serve_metrics
from app.settings import Settings, describe_validation_error
from app.tables import REVISION
from app.worker import STOP_SIGNALS

T = TypeVar("T")


def fail(message: str) -> NoReturn:
    """Print a message on standard error, and end the command with exit code 1."""
    typer.echo(f"{NAME}: {message}", err=True)
    raise typer.Exit(1)


def load_settings(*, quiet: bool = False) -> Settings:
    """Read the settings and configure logging. End the command if a setting is invalid.

    A `quiet` command does not log, because its output is for a person: `fail` reports its errors.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        fail(f"invalid settings\n{describe_validation_error(error)}")
    log_level: str = settings.log_level
    if quiet:
        log_level = "CRITICAL"
    configure_logging(log_level, settings.log_format or "console")
    return settings


def exit_normally_on_signals() -> None:
    """Exit with code 0 on a stop signal, which is the normal end of a server or a worker."""
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, lambda *_: sys.exit(0))


@contextmanager
def provide_database(settings: Settings) -> Iterator[Settings]:
    """Yield settings that name a running database.

    If `settings` name none, start an embedded Postgres, yield a copy of the settings with its URL,
    and stop it when the block ends.
    """
    if settings.database_url is not None:
        yield settings
        return
    with _start_or_fail(embedded.run_postgres(settings.data_dir)) as postgres:
        yield settings.model_copy(update={"database_url": SecretStr(postgres.url())})


@contextmanager
def provide_backends(settings: Settings) -> Iterator[Settings]:
    """Yield settings that name a running database and a running object store.

    For each of them that `settings` do not name, start an embedded server, yield a copy of the
    settings with its address, and stop it when the block ends. The credentials of an embedded
    object store are set as environment variables.
    """
    with provide_database(settings) as database_settings:
        if settings.s3_bucket is not None:
            yield database_settings
            return
        with _start_or_fail(embedded.run_s3_server(settings.data_dir)) as s3_server:
            # Remove credentials of another object store, which boto3 would mix with the new ones.
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                os.environ.pop(name, None)
            os.environ.update(s3_server.environment())
            changes = {"s3_endpoint_url": s3_server.endpoint, "s3_bucket": embedded.BUCKET}
            yield database_settings.model_copy(update=changes)


@contextmanager
def expose_metrics(settings: Settings, processes: int = 1) -> Iterator[None]:
    """Serve metrics on METRICS_PORT until the block ends. Do nothing if the port is 0.

    If `processes` is more than 1, these are the metrics of that many server processes together.
    Ends the command if the port cannot be opened.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(serve_metrics(settings.host, settings.metrics_port, processes))
        except OSError as error:
            address = f"{settings.host}:{settings.metrics_port}"
            fail(f"cannot serve metrics on {address} ({error.strerror}): set METRICS_PORT")
        yield


def upgrade_schema(settings: Settings, revision: str = "head") -> None:
    """Apply the missing migrations up to a revision. End the command if one fails."""
    # Imported lazily because a server needs Alembic only if it upgrades the schema.
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from app import schema  # noqa: PLC0415

    url = settings.sqlalchemy_url
    try:
        schema.upgrade(url, revision)
    except (*DATABASE_AND_OS_ERRORS, CommandError) as error:
        fail(f"cannot migrate {url}: {getattr(error, 'orig', error)}")


@contextmanager
def prepare_backends(
    provide: Callable[[Settings], AbstractContextManager[Settings]], *, quiet: bool = False
) -> Iterator[Settings]:
    """Load the settings, and yield those that name running backends with an up-to-date schema.

    The schema of an embedded database is upgraded. The command ends if another database is not
    reachable, or has another schema revision than this code needs.

    Args:
        provide: `provide_database`, or `provide_backends` if the command needs the object store.
        quiet: Do not log anything (see `load_settings`).
    """
    settings = load_settings(quiet=quiet)
    with provide(settings) as backend_settings:
        if settings.database_url is None:
            upgrade_schema(backend_settings)
        else:
            _require_usable_database(backend_settings)
        yield backend_settings


@asynccontextmanager
async def open_transaction(settings: Settings) -> AsyncIterator[TransactionSession]:
    """Connect to the database and begin a transaction. Commit it and disconnect at the block's end.

    Callbacks that the block registered for after the commit have then finished.
    """
    database = Database(settings)
    try:
        async with database.transaction() as session:
            yield session
        await database.wait_for_callbacks()
    finally:
        await database.close()


def run_or_fail(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result. End the command if it raises an expected error.

    Expected are the errors of the service, such as `NotFound`, and errors of the database.
    """
    try:
        return asyncio.run(coroutine)
    except ServiceError as error:
        fail(str(error))
    except DATABASE_ERRORS as error:
        fail(f"the database reported an error: {getattr(error, 'driver_exception', error)}")


@contextmanager
def _start_or_fail(embedded_server: AbstractContextManager[T]) -> Iterator[T]:
    """Run an embedded server until the block ends. End the command if the server does not start."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded_server)
        except embedded.EmbeddedError as error:
            fail(str(error))
        yield server


def _require_usable_database(settings: Settings) -> None:
    """End the command if the database is not reachable or its schema is not up to date."""
    problem = asyncio.run(_find_database_problem(settings))
    if problem is None:
        return
    message = f"{problem} ({settings.sqlalchemy_url})"
    if "schema" in problem:
        message += ": run python -m app migrate"
    fail(message)


async def _find_database_problem(settings: Settings) -> str | None:
    """Return a message such as "database: does not respond", or None if the database is usable."""
    database = Database(settings)
    try:
        return await find_database_problem(database.reads, REVISION)
    finally:
        await database.close()
