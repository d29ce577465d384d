"""Functions that all commands share: load settings, provide a database, report errors.

If a command needs a database or an object store that the settings do not contain, it starts an
embedded server, and stops the server at its end.

Functions that end the command print a message on standard error, and exit with code 1.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NoReturn, TypeVar

import typer

from app import NAME, backends, embedded
from app.cli.metrics_process import run_metrics_process
from app.core.db import (
    DATABASE_AND_OS_ERRORS,
    DATABASE_ERRORS,
    OUTDATED_SCHEMA_PROBLEM,
    Database,
    TransactionSession,
    find_database_problem,
)
from app.core.errors import ServiceError
from app.core.observability import configure_logging, serve_metrics
from app.settings import InvalidSettings, Settings, log_setting_warnings, read_settings
from app.tables import REQUIRED_REVISIONS
from app.worker import STOP_SIGNALS

T = TypeVar("T")


def fail(message: str) -> NoReturn:
    """Print a message on standard error, and end the command with exit code 1."""
    typer.echo(f"{NAME}: {message}", err=True)
    raise SystemExit(1)


def load_settings(*, quiet: bool = False) -> Settings:
    """Read the settings and configure logging. End the command if a setting is invalid.

    With `quiet`, nothing is logged. Use it for commands that report their result and their errors
    to a person on the terminal.
    """
    try:
        settings = read_settings()
    except InvalidSettings as error:
        fail(str(error))
    log_level = "CRITICAL" if quiet else settings.log_level
    # The type of `log_format` includes None, but a validator always chooses a format.
    configure_logging(log_level, settings.log_format or "console")
    log_setting_warnings(Settings)
    return settings


def exit_normally_on_signals() -> None:
    """Exit with code 0 on Ctrl-C or SIGTERM, which are the normal end of a server or a worker."""
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, lambda *_: sys.exit(0))


@contextmanager
def provide_database(settings: Settings) -> Iterator[Settings]:
    """Start an embedded Postgres if the settings contain no URL of a database.

    Yields settings with the URL of a running database. Ends the command if the embedded Postgres
    cannot be started.
    """
    with _enter_or_fail(backends.provide_database(settings)) as database_settings:
        yield database_settings


@contextmanager
def provide_object_store(settings: Settings) -> Iterator[Settings]:
    """Start an embedded S3 server if the settings contain no bucket.

    Yields settings with the address and the bucket of a running object store. Ends the command if
    the embedded server cannot be started.
    """
    with _enter_or_fail(backends.provide_object_store(settings)) as store_settings:
        yield store_settings


@contextmanager
def provide_database_and_object_store(settings: Settings) -> Iterator[Settings]:
    """Start an embedded database and an embedded object store, unless settings for them exist.

    Yields settings with the addresses of the database and the object store to use. The embedded
    servers stop when the block ends.
    """
    with (
        provide_database(settings) as database_settings,
        provide_object_store(database_settings) as complete_settings,
    ):
        yield complete_settings


@contextmanager
def keep_embedded_servers(settings: Settings) -> Iterator[None]:
    """Keep the embedded servers that other processes need running until the block ends."""
    with ExitStack() as stack:
        if settings.database_url is None:
            postgres = embedded.run_postgres(settings.data_dir)
            stack.enter_context(_enter_or_fail(postgres))
        if settings.s3_bucket is None:
            s3_server = embedded.run_s3_server(settings.data_dir)
            stack.enter_context(_enter_or_fail(s3_server))
        yield


@contextmanager
def prepare_database(settings: Settings) -> Iterator[Settings]:
    """Yield settings with the URL of a running database whose schema is up to date.

    If `settings` do not contain a URL, starts an embedded Postgres and upgrades its schema.
    Otherwise, the schema is only checked: the command ends if the database does not respond or
    needs a migration.
    """
    with provide_database(settings) as database_settings:
        if settings.database_url is None:
            upgrade_schema(database_settings)
        else:
            _require_usable_database(settings)
        yield database_settings


@contextmanager
def expose_metrics(settings: Settings, processes: int = 1) -> Iterator[None]:
    """Serve metrics on METRICS_PORT until the block ends. Do nothing if the port is 0.

    With several server `processes`, the metrics are the sums over all of them. Ends the command if
    the port cannot be opened.
    """
    host, port = settings.host, settings.metrics_port
    # With an ExitStack, `except` covers only the start of the metrics server, and not the block.
    with ExitStack() as stack:
        try:
            if processes > 1 and port > 0:
                stack.enter_context(run_metrics_process(host, port))
            else:
                stack.enter_context(serve_metrics(host, port))
        except OSError as error:
            fail(f"cannot serve metrics on {host}:{port} ({error.strerror}): set METRICS_PORT")
        yield


def upgrade_schema(settings: Settings, revision: str = "head") -> str:
    """Apply the migrations up to a revision, and return a sentence about the resulting schema."""
    # Imported lazily because a server needs Alembic only if it upgrades the schema.
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from app import schema  # noqa: PLC0415

    url = settings.sqlalchemy_url
    lock_timeout = settings.migration_lock_timeout
    try:
        return schema.upgrade(url, revision, lock_timeout, change_feed=settings.change_feed)
    except (*DATABASE_AND_OS_ERRORS, CommandError) as error:
        # SQLAlchemy's errors wrap the error of the driver, whose message is shorter.
        fail(f"cannot migrate {url}: {getattr(error, 'orig', error)}")


def run_in_transaction(operation: Callable[[TransactionSession], Awaitable[T]]) -> T:
    """Run the operation of a command in a database transaction, and return its result.

    The operation receives the session of the transaction, which is committed when the operation
    returns. Ends the command if the database is not usable, or if the operation raises an expected
    error (see `run_or_fail`). Nothing is logged, because errors are printed on the terminal.
    """
    with prepare_database(load_settings(quiet=True)) as settings:
        return run_or_fail(_execute_in_transaction(settings, operation))


async def _execute_in_transaction(
    settings: Settings, operation: Callable[[TransactionSession], Awaitable[T]]
) -> T:
    """Connect to the database, run an operation in a transaction, and disconnect.

    Before disconnecting, waits for the callbacks that the operation registered to run after the
    commit.
    """
    database = Database(settings)
    try:
        async with database.transaction() as session:
            result = await operation(session)
        await database.wait_for_callbacks()
    finally:
        await database.close()
    return result


def run_or_fail(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result. End the command if it raises an expected error.

    An expected error is a `ServiceError`, such as `NotFound`, or an error of the database.
    """
    try:
        return asyncio.run(coroutine)
    except ServiceError as error:
        fail(_describe_service_error(error))
    except DATABASE_ERRORS as error:
        # SQLAlchemy's errors wrap the error of the driver, whose message is shorter.
        cause = getattr(error, "driver_exception", error)
        fail(f"the database reported an error: {cause}")


def _describe_service_error(error: ServiceError) -> str:
    """Return a message such as "password: Must have at least 12 characters", or the error's own."""
    if not error.field_errors:
        return str(error)
    return "; ".join(
        f"{field_error.pointer}: {field_error.detail}".removeprefix("/")
        for field_error in error.field_errors
    )


@contextmanager
def _enter_or_fail(backend: AbstractContextManager[T]) -> Iterator[T]:
    """Enter a context that may start an embedded server. End the command if that fails."""
    # With an ExitStack, `except` covers only the start of the server, and not the block.
    with ExitStack() as stack:
        try:
            value = stack.enter_context(backend)
        except embedded.EmbeddedError as error:
            fail(str(error))
        yield value


def _require_usable_database(settings: Settings) -> None:
    """End the command if the database is not reachable or its schema is not usable."""
    problem = asyncio.run(_find_database_problem(settings))
    if problem is None:
        return
    message = f"{problem} ({settings.sqlalchemy_url})"
    if problem.startswith(OUTDATED_SCHEMA_PROBLEM):
        message += ": run python -m app migrate"
    fail(message)


async def _find_database_problem(settings: Settings) -> str | None:
    """Return a message such as "database: does not respond", or None if the database is usable."""
    database = Database(settings)
    try:
        return await find_database_problem(database.reads, REQUIRED_REVISIONS)
    finally:
        await database.close()
