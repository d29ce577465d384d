"""`Session.after_commit`: side effects that run after COMMIT, and only then."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import ContextVar

import asyncpg
import pytest
from sqlalchemy import text

from app.core.db import Database, TransactionSession
from app.core.db import _after_commit as after_commit
from app.core.db import _database as databases
from app.core.errors import InvalidRequest, ServiceError

pytestmark = pytest.mark.private_database

INSERT = text("INSERT INTO authors (id, name) VALUES (gen_random_uuid(), 'Ursula')")
COUNT = "SELECT count(*) FROM authors"
TRIGGER = """
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON authors
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()
"""


class AuthorCounter:
    """A callback that records how many authors another connection can see."""

    def __init__(self, other: asyncpg.Connection) -> None:
        self.authors: list[int] = []
        self._other = other

    async def __call__(self) -> None:
        self.authors.append(await self._other.fetchval(COUNT))


@pytest.fixture
def author_counter(outside_connection: asyncpg.Connection) -> AuthorCounter:
    return AuthorCounter(outside_connection)


async def test_callback_of_transaction_runs_after_commit_and_sees_rows_on_another_connection(
    database: Database, author_counter: AuthorCounter
) -> None:
    async with database.transaction() as session:
        session.after_commit(author_counter)
        await session.execute(INSERT)
        await database.wait_for_callbacks()
        assert author_counter.authors == []
    await database.wait_for_callbacks()
    assert author_counter.authors == [1]


async def test_callback_of_autocommit_session_sees_rows_of_earlier_statement(
    database: Database, author_counter: AuthorCounter
) -> None:
    await database.writes.execute(INSERT)
    database.writes.after_commit(author_counter)
    await database.wait_for_callbacks()
    assert author_counter.authors == [1]


async def test_callback_does_not_run_when_commit_fails(
    database: Database, outside_connection: asyncpg.Connection, author_counter: AuthorCounter
) -> None:
    await outside_connection.execute(TRIGGER)

    async def add_author() -> None:
        async with database.transaction() as session:
            await session.execute(INSERT)
            session.after_commit(author_counter)

    with pytest.raises(InvalidRequest):
        await add_author()
    await database.wait_for_callbacks()
    assert author_counter.authors == []


async def test_callback_does_not_run_when_block_raises(
    database: Database, author_counter: AuthorCounter
) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            session.after_commit(author_counter)
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        await fail()
    await database.wait_for_callbacks()
    assert author_counter.authors == []


async def test_callback_does_not_run_when_transaction_is_cancelled(
    database: Database, author_counter: AuthorCounter
) -> None:
    has_begun = asyncio.Event()

    async def wait_forever() -> None:
        async with database.transaction() as session:
            session.after_commit(author_counter)
            await session.execute(INSERT)
            has_begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait_forever())
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.wait_for_callbacks()
    assert author_counter.authors == []


async def test_callback_of_failed_savepoint_does_not_run_and_others_do(
    database: Database, author_counter: AuthorCounter
) -> None:
    callbacks_run: list[str] = []

    async def record_callback() -> None:
        callbacks_run.append("failed")

    async def fail(session: TransactionSession) -> None:
        async with session.savepoint():
            session.after_commit(record_callback)
            await session.execute(text("SELECT 1 / 0"))

    async with database.transaction() as session:
        session.after_commit(author_counter)
        with pytest.raises(ServiceError):
            await fail(session)
        await session.execute(INSERT)
    await database.wait_for_callbacks()
    assert (callbacks_run, author_counter.authors) == ([], [1])


async def test_exception_in_callback_is_logged_and_other_callbacks_run(
    database: Database, author_counter: AuthorCounter, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("the mail server")

    async with database.transaction() as session:
        session.after_commit(fail)
        session.after_commit(author_counter)
    await database.wait_for_callbacks()
    [record] = [record for record in caplog.records if record.name == after_commit.__name__]
    assert (record.levelno, author_counter.authors) == (logging.ERROR, [0])
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "the mail server"


async def test_callback_inherits_context_variables(database: Database) -> None:
    variable = ContextVar("variable", default="-")
    values: list[str] = []

    async def record_callback() -> None:
        values.append(variable.get())

    variable.set("request 1")
    async with database.transaction() as session:
        session.after_commit(record_callback)
    variable.set("request 2")
    await database.wait_for_callbacks()
    assert values == ["request 1"]


async def test_transaction_does_not_wait_for_its_callback(database: Database) -> None:
    may_end = asyncio.Event()
    async with database.transaction() as session:
        session.after_commit(may_end.wait)
    may_end.set()
    await database.wait_for_callbacks()


async def test_wait_includes_callbacks_that_callbacks_start(
    database: Database, author_counter: AuthorCounter
) -> None:
    async def start_another() -> None:
        async with database.transaction() as session:
            await session.execute(INSERT)
            session.after_commit(author_counter)

    database.writes.after_commit(start_another)
    await database.wait_for_callbacks()
    assert author_counter.authors == [1]


@pytest.fixture
async def closing_database(
    database: Database,
) -> AsyncIterator[tuple[asyncio.Event, asyncio.Task[None]]]:
    """An event for which a callback waits, and the task that closes the database meanwhile."""
    event = asyncio.Event()
    database.writes.after_commit(event.wait)
    task = asyncio.create_task(database.close())
    yield event, task
    event.set()
    await task


async def test_close_waits_for_callbacks(
    closing_database: tuple[asyncio.Event, asyncio.Task[None]],
) -> None:
    event, task = closing_database
    done, _ = await asyncio.wait({task}, timeout=0.1)
    assert not done
    event.set()
    await task


async def test_close_cancels_callback_that_takes_too_long(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(databases, "CALLBACKS_TIMEOUT_SECONDS", 0.01)
    cancelled = asyncio.Event()

    async def wait_forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    database.writes.after_commit(wait_forever)
    await database.close()
    await cancelled.wait()
    assert "1 after-commit callbacks were cancelled" in caplog.messages
