"""The share of the connection pool that writes may occupy."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.caller_limits import Caller
from app.core.db import Database, Session, mark_reusable
from app.core.db._pool import MAX_WAITERS_PER_CONNECTION, PoolShares
from app.core.db._write_slots import WriteSlots
from app.core.errors import Overloaded
from tests.support.settings import make_settings

SELECT_ONE = mark_reusable(sa.select(sa.literal(1).label("one")))
# One connection is for streams, two are for writes and one is for short reads.
POOL_SIZE = 4

CreateDatabase = Callable[..., Database]


@pytest.fixture
async def create_database(database_url: str) -> AsyncIterator[CreateDatabase]:
    """A function that creates a database with a small pool and a short timeout."""
    async with AsyncExitStack() as stack:

        def create(pool_size: int = POOL_SIZE, **options: bool) -> Database:
            settings = make_settings(database_url, db_pool_size=pool_size, db_pool_timeout=0.2)
            database = Database(settings, **options)
            stack.push_async_callback(database.close)
            return database

        yield create


async def select_one(session: Session) -> int:
    """Return 1, after a statement in the session."""
    [row] = await session.execute(SELECT_ONE)
    one: int = row["one"]
    return one


async def hold_transaction(
    database: Database, has_begun: asyncio.Event, may_end: asyncio.Event
) -> None:
    """Begin a transaction, and end it when the event `may_end` is set."""
    async with database.transaction() as session:
        await session.execute(SELECT_ONE)
        has_begun.set()
        await may_end.wait()


@asynccontextmanager
async def open_transactions(database: Database, number: int) -> AsyncIterator[None]:
    """Begin transactions in tasks of their own, as requests do. They end with the block."""
    may_end = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(number):
            has_begun = asyncio.Event()
            tasks.create_task(hold_transaction(database, has_begun, may_end))
            await has_begun.wait()
        try:
            yield
        finally:
            may_end.set()


@pytest.mark.parametrize(
    ("pool_size", "streams", "writes"),
    [
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (4, 1, 2),
        (7, 1, 3),
        (8, 2, 4),
        (20, 5, 10),
        (1000, 250, 500),
    ],
)
def test_pool_is_divided_between_streams_writes_and_reads(
    pool_size: int, streams: int, writes: int
) -> None:
    assert PoolShares.divide(pool_size) == PoolShares(streams, writes)


async def test_write_is_refused_while_other_writes_occupy_their_share(
    create_database: CreateDatabase,
) -> None:
    database = create_database()
    async with open_transactions(database, 2):
        with pytest.raises(Overloaded):
            await database.writes.execute(SELECT_ONE)
    assert await select_one(database.writes) == 1


async def test_transaction_is_refused_while_writes_occupy_their_share(
    create_database: CreateDatabase,
) -> None:
    database = create_database()
    async with open_transactions(database, 2), database.transaction() as session:
        with pytest.raises(Overloaded):
            await session.execute(SELECT_ONE)


async def test_read_succeeds_while_writes_and_streams_occupy_their_shares(
    create_database: CreateDatabase,
) -> None:
    database = create_database()
    async with open_transactions(database, 2), database.streaming_transaction(Caller()) as stream:
        await stream.execute(SELECT_ONE)
        assert await select_one(database.reads) == 1


async def test_waiting_write_continues_when_another_write_ends(
    create_database: CreateDatabase,
) -> None:
    database = create_database()
    async with open_transactions(database, 2):
        waiting_write = asyncio.create_task(select_one(database.writes))
        await asyncio.sleep(0)
        assert not waiting_write.done()
    assert await waiting_write == 1


async def test_as_many_writes_wait_as_could_occupy_the_pool_or_wait_for_it() -> None:
    slots = WriteSlots(POOL_SIZE, 2, timeout_seconds=60)
    max_writes = POOL_SIZE * (1 + MAX_WAITERS_PER_CONNECTION)
    async with asyncio.TaskGroup() as burst:
        writes = [burst.create_task(slots.take()) for _ in range(max_writes)]
        await asyncio.sleep(0)
        assert sum(write.done() for write in writes) == 2
        with pytest.raises(PoolTimeout):
            await slots.take()
        for _ in range(max_writes):
            slots.put_back()


async def test_optional_write_is_skipped_without_waiting_or_logging(
    create_database: CreateDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database = create_database()
    assert await select_one(database.optional_writes) == 1
    async with open_transactions(database, 2):
        write = asyncio.create_task(select_one(database.optional_writes))
        await asyncio.sleep(0)
        assert write.done()
        assert isinstance(write.exception(), Overloaded)
    assert caplog.records == []


@pytest.mark.parametrize("pool_size", [2, 3])
async def test_write_inside_transaction_does_not_wait_for_slot_of_transaction(
    create_database: CreateDatabase, pool_size: int
) -> None:
    database = create_database(pool_size)
    async with database.transaction() as session:
        await session.execute(SELECT_ONE)
        assert await select_one(database.writes) == 1
        async with database.transaction() as inner_session:
            assert await select_one(inner_session) == 1


async def test_pool_of_one_connection_reads_and_writes(create_database: CreateDatabase) -> None:
    database = create_database(1)
    for session in (database.reads, database.writes, database.optional_writes):
        assert await select_one(session) == 1
    async with database.transaction() as transaction:
        assert await select_one(transaction) == 1


async def test_transaction_without_statement_occupies_no_slot(
    create_database: CreateDatabase,
) -> None:
    database = create_database(1)
    async with database.transaction():
        write = asyncio.create_task(select_one(database.writes))
        assert await write == 1


async def test_writes_occupy_all_connections_of_process_without_clients(
    create_database: CreateDatabase,
) -> None:
    database = create_database(reserve_reads=False)
    async with open_transactions(database, POOL_SIZE):
        pass


async def test_slot_is_free_after_transaction_was_cancelled(
    create_database: CreateDatabase,
) -> None:
    database = create_database(1)
    has_begun = asyncio.Event()
    transaction = asyncio.create_task(hold_transaction(database, has_begun, asyncio.Event()))
    await has_begun.wait()
    transaction.cancel()
    await asyncio.wait({transaction})
    assert await select_one(database.writes) == 1


async def test_cancelled_wait_leaves_slot_to_next_write() -> None:
    slots = WriteSlots(1, 1, timeout_seconds=60)
    await slots.take()
    first, second = (asyncio.create_task(slots.take()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    slots.put_back()
    await second
    assert slots.are_all_taken
    slots.put_back()
    assert not slots.are_all_taken


async def test_slot_is_free_if_wait_is_cancelled_at_the_moment_it_ends() -> None:
    slots = WriteSlots(1, 1, timeout_seconds=60)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.put_back()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert not slots.are_all_taken
