"""What commands start with: settings, a database, a store, and one sentence when that fails."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import SecretStr, ValidationError

from app import embedded
from app.core.db import DATABASE_ERRORS, FAILURES, Database, TransactionSession
from app.core.errors import ServiceError
from app.core.observability import configure_logging, serve_metrics
from app.core.server import database_fault
from app.settings import Settings, describe
from app.tables import REVISION

T = TypeVar("T")


def fail(sentence: str) -> NoReturn:
    typer.echo(f"bookshelf: {sentence}", err=True)
    raise typer.Exit(1)


def settings(*, quiet: bool = False) -> Settings:
    """What the environment says. A `quiet` command tells of its failure itself and logs none."""
    try:
        found = Settings()
    except ValidationError as error:
        fail(f"wrong settings\n{describe(error)}")
    configure_logging("CRITICAL" if quiet else found.log_level, found.log_format or "console")
    return found


@contextmanager
def database(given: Settings) -> Iterator[Settings]:
    """Settings with a database: the one they name, or our own while the block lasts."""
    if given.database_url is not None:
        yield given
    else:
        with entered(embedded.postgres(given.data_dir)) as server:
            yield given.model_copy(update={"database_url": SecretStr(server.url())})


@contextmanager
def parts(given: Settings) -> Iterator[Settings]:
    """Settings with a database and a store: those they name, or our own while the block lasts."""
    with ExitStack() as stack:
        connected = stack.enter_context(database(given))
        if given.s3_bucket is None:
            store = stack.enter_context(entered(embedded.s3(given.data_dir)))
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):  # of another store's account
                os.environ.pop(name, None)
            os.environ.update(store.environment())
            changes = {"s3_endpoint_url": store.endpoint, "s3_bucket": embedded.BUCKET}
            connected = connected.model_copy(update=changes)
        yield connected


@contextmanager
def metered(given: Settings, processes: int = 1) -> Iterator[None]:
    """Serve the metrics of so many processes where the settings say."""
    with ExitStack() as stack:
        try:
            stack.enter_context(serve_metrics(given.host, given.metrics_port, processes))
        except OSError as error:
            where = f"{given.host}:{given.metrics_port}"
            fail(f"cannot serve metrics on {where} ({error.strerror}): set METRICS_PORT")
        yield


@contextmanager
def entered(part: AbstractContextManager[T]) -> Iterator[T]:
    with ExitStack() as stack:
        try:
            started = stack.enter_context(part)
        except embedded.EmbeddedError as error:
            fail(str(error))
        yield started


def upgrade(connected: Settings, revision: str = "head") -> None:
    # Here, for a server that finds its schema there need not have all of Alembic in memory.
    from alembic.util.exc import CommandError  # noqa: PLC0415

    from app import schema  # noqa: PLC0415

    url = connected.sqlalchemy_url
    try:
        schema.upgrade(url, revision)
    except (*FAILURES, CommandError) as error:
        fail(f"cannot migrate {url}: {getattr(error, 'orig', error)}")


@contextmanager
def ready(
    needed: Callable[[Settings], AbstractContextManager[Settings]], *, quiet: bool = False
) -> Iterator[Settings]:
    """The `database` or `parts` of the settings, with the schema that this version needs."""
    given = settings(quiet=quiet)
    with needed(given) as connected:
        if given.database_url is None:
            upgrade(connected)
        elif fault := asyncio.run(_fault(connected)):
            advice = ": run python -m app migrate" if "schema" in fault else ""
            fail(f"{fault} ({connected.sqlalchemy_url}){advice}")
        yield connected


@asynccontextmanager
async def transaction(connected: Settings) -> AsyncIterator[TransactionSession]:
    opened = Database(connected)
    try:
        async with opened.transaction() as session:
            yield session
        await opened.wait_for_callbacks()
    finally:
        await opened.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """What it returns; what the service or the database refuses ends the command."""
    try:
        return asyncio.run(work)
    except ServiceError as error:
        fail(str(error))
    except DATABASE_ERRORS as error:
        fail(f"the database refused: {getattr(error, 'driver_exception', error)}")


async def _fault(connected: Settings) -> str | None:
    opened = Database(connected)
    try:
        return await database_fault(opened.reads, REVISION)
    finally:
        await opened.close()
