"""What every command needs: settings, backend services, and a sentence if something fails.

The backend services are the database and the object store. Commands use those that the settings
name, and otherwise start embedded ones for as long as they run.
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
from app.settings import Settings, describe
from app.tables import REVISION
from app.worker import STOP_SIGNALS

T = TypeVar("T")


def fail(sentence: str) -> NoReturn:
    typer.echo(f"{NAME}: {sentence}", err=True)
    raise typer.Exit(1)


def load_settings(*, quiet: bool = False) -> Settings:
    """Read the settings and configure logging. A `quiet` command logs nothing: it uses `fail`."""
    try:
        settings = Settings()
    except ValidationError as error:
        fail(f"wrong settings\n{describe(error)}")
    level = "CRITICAL" if quiet else settings.log_level
    configure_logging(level, settings.log_format or "console")
    return settings


def exit_normally_on_signals() -> None:
    """Exit with code 0 on a signal: a server and a worker run until they are stopped."""
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))


@contextmanager
def with_database(settings: Settings) -> Iterator[Settings]:
    """Return settings that name a database, which is an embedded one if `settings` names none."""
    if settings.database_url is not None:
        yield settings
        return
    with _start(embedded.run_postgres(settings.data_dir)) as server:
        yield settings.model_copy(update={"database_url": SecretStr(server.url())})


@contextmanager
def with_backends(settings: Settings) -> Iterator[Settings]:
    """Return settings that name a database and a store, which may be embedded ones."""
    with with_database(settings) as connected:
        if settings.s3_bucket is not None:
            yield connected
            return
        with _start(embedded.run_s3_server(settings.data_dir)) as store:
            # These belong to another store's account.
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                os.environ.pop(name, None)
            os.environ.update(store.environment())
            changes = {"s3_endpoint_url": store.endpoint, "s3_bucket": embedded.BUCKET}
            yield connected.model_copy(update=changes)


@contextmanager
def with_metrics(settings: Settings, processes: int = 1) -> Iterator[None]:
    """Serve the metrics of this process, or of several, on the port that the settings name."""
    with ExitStack() as stack:
        try:
            stack.enter_context(serve_metrics(settings.host, settings.metrics_port, processes))
        except OSError as error:
            address = f"{settings.host}:{settings.metrics_port}"
            fail(f"cannot serve metrics on {address} ({error.strerror}): set METRICS_PORT")
        yield


def upgrade_schema(settings: Settings, revision: str = "head") -> None:
    # Imported lazily because a server whose schema is up to date does without Alembic.
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from app import schema  # noqa: PLC0415

    url = settings.sqlalchemy_url
    try:
        schema.upgrade(url, revision)
    except (*DATABASE_AND_OS_ERRORS, CommandError) as error:
        fail(f"cannot migrate {url}: {getattr(error, 'orig', error)}")


@contextmanager
def prepare(
    with_services: Callable[[Settings], AbstractContextManager[Settings]], *, quiet: bool = False
) -> Iterator[Settings]:
    """Load the settings, and make the services usable that the command needs.

    `with_services` is `with_database` or `with_backends`. The schema of an embedded database is
    upgraded; the command ends if that of another one is not up to date.
    """
    settings = load_settings(quiet=quiet)
    with with_services(settings) as connected:
        if settings.database_url is None:
            upgrade_schema(connected)
        else:
            _require_usable_database(connected)
        yield connected


@asynccontextmanager
async def transaction(settings: Settings) -> AsyncIterator[TransactionSession]:
    database = Database(settings)
    try:
        async with database.transaction() as session:
            yield session
        await database.wait_for_callbacks()
    finally:
        await database.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result; end the command if the service refuses the work."""
    try:
        return asyncio.run(work)
    except ServiceError as error:
        fail(str(error))
    except DATABASE_ERRORS as error:
        fail(f"the database refused: {getattr(error, 'driver_exception', error)}")


@contextmanager
def _start(service: AbstractContextManager[T]) -> Iterator[T]:
    """Start an embedded service; end the command if that fails."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(service)
        except embedded.EmbeddedError as error:
            fail(str(error))
        yield started


def _require_usable_database(settings: Settings) -> None:
    fault = asyncio.run(_find_fault(settings))
    if fault is None:
        return
    advice = ": run python -m app migrate" if "schema" in fault else ""
    fail(f"{fault} ({settings.sqlalchemy_url}){advice}")


async def _find_fault(settings: Settings) -> str | None:
    database = Database(settings)
    try:
        return await find_database_problem(database.reads, REVISION)
    finally:
        await database.close()
