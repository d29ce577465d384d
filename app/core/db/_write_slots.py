"""Limits the connections of a pool that writes may occupy, so that reads always get one.

A commit may take long although the server works, for example while a synchronous standby is down.
Blocked writes would then occupy the whole pool, and reads, which are not blocked, would fail.

A write first takes a slot and then checks out a connection. At its end, it first returns the
connection and then the slot. A transaction takes its slot before its first statement, because later
ones may write. Streaming transactions and reads outside of a transaction take no slot.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.util import await_only

from app.core.db._pool import MAX_WAITERS_PER_CONNECTION
from app.core.db._sessions import ExecuteStatement, Parameters, Rows
from app.core.errors import Overloaded
from app.core.observability import QueueMetrics


class WriteSlots:
    """The slots of a connection pool for writes, and a bounded queue for them."""

    def __init__(
        self,
        pool_size: int,
        number_of_slots: int,
        timeout_seconds: float,
        database_name: str = "default",
    ) -> None:
        """Create the slots.

        Args:
            pool_size: The number of connections in the pool.
            number_of_slots: How many connections writes may occupy at a time.
            timeout_seconds: How long a write waits for a slot.
            database_name: The name of the database in the metrics.
        """
        self._metrics = QueueMetrics(database_name, "writes")
        self._semaphore = asyncio.Semaphore(number_of_slots)
        self._timeout_seconds = timeout_seconds
        self._waiting_writes = 0
        # As many writes as could otherwise occupy the whole pool or wait for it, so that a burst of
        # writes is not refused because of the slots.
        max_writes = pool_size * (1 + MAX_WAITERS_PER_CONNECTION)
        self._max_waiting_writes = max_writes - number_of_slots

    @property
    def are_all_taken(self) -> bool:
        """Return whether a write would have to wait for a slot."""
        return self._semaphore.locked()

    async def take(self) -> None:
        """Take a slot, or wait for one if the queue has room.

        Raises `PoolTimeout`, as the connection pool does, if the queue is full or if the wait
        exceeds the timeout.
        """
        # The semaphore is also locked while a free slot is reserved for a write that waits.
        if not self._semaphore.locked():
            # A slot is free, so this does not wait.
            await self._semaphore.acquire()
            return
        if self._waiting_writes >= self._max_waiting_writes:
            self._metrics.record_full_queue()
            raise PoolTimeout("too many writes are waiting for a connection")
        self._waiting_writes += 1
        try:
            with self._metrics.record_wait():
                await self._wait_for_slot()
        finally:
            self._waiting_writes -= 1

    async def _wait_for_slot(self) -> None:
        """Wait for a slot and take it. Raises `PoolTimeout` if this exceeds the timeout."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._semaphore.acquire()
        except TimeoutError:
            raise PoolTimeout("other writes occupy their share of the connections") from None

    def put_back(self) -> None:
        """Return a slot. The write that has waited longest gets it."""
        self._semaphore.release()


class TransactionSlot:
    """The slot of one transaction, which is taken before the transaction uses a connection."""

    def __init__(self, slots: WriteSlots) -> None:
        self._slots = slots
        self._is_taken = False

    def occupies(self, slots: WriteSlots) -> bool:
        """Return whether the transaction has taken one of these slots."""
        return self._is_taken and self._slots is slots

    async def take(self) -> None:
        """Take a slot, unless the transaction has one already. See `WriteSlots.take`."""
        if not self._is_taken:
            await self._slots.take()
            self._is_taken = True

    def put_back(self) -> None:
        """Return the slot, if the transaction has taken one."""
        if self._is_taken:
            self._is_taken = False
            self._slots.put_back()


# The slot of the innermost transaction in whose block the current task is. A transaction on another
# database hides the slot of the transaction around it.
_current_transaction_slot: Final[ContextVar[TransactionSlot | None]] = ContextVar(
    "current_transaction_slot", default=None
)


def _surrounding_transaction_occupies(slots: WriteSlots) -> bool:
    """Return whether the current task is in the block of a transaction that has taken a slot.

    Its other writes then need no slot. Otherwise all slots might belong to transactions each of
    which waits for a second slot.
    """
    transaction_slot = _current_transaction_slot.get()
    return transaction_slot is not None and transaction_slot.occupies(slots)


@asynccontextmanager
async def provide_transaction_slot(slots: WriteSlots) -> AsyncIterator[TransactionSlot | None]:
    """Yield the slot of a transaction, or None if it needs none. Return it when the block ends."""
    if _surrounding_transaction_occupies(slots):
        yield None
        return
    surrounding_slot = _current_transaction_slot.get()
    slot = TransactionSlot(slots)
    _current_transaction_slot.set(slot)
    try:
        yield slot
    finally:
        _current_transaction_slot.set(surrounding_slot)
        slot.put_back()


class SlotSession(OrmSession):
    """SQLAlchemy session that takes a slot before it checks out its connection."""

    def __init__(self, *, slot: TransactionSlot | None = None, **options: Any) -> None:
        """Create a session. Without a slot, it is not limited."""
        super().__init__(**options)
        self._slot = slot

    def get_bind(self, *args: Any, **options: Any) -> sa.Engine | sa.Connection:
        """Return the engine. SQLAlchemy calls this method before each use of the connection."""
        if self._slot is not None:
            await_only(self._slot.take())
        return super().get_bind(*args, **options)


def limit_to_slots(
    execute_statement: ExecuteStatement, slots: WriteSlots, *, may_wait: bool = True
) -> ExecuteStatement:
    """Return a function that executes and commits one statement while it occupies a slot.

    `execute_statement` executes and commits the statement, and does not take a slot itself.

    The function raises `PoolTimeout` if the statement gets no slot. If `may_wait` is False, it
    raises `Overloaded` instead of waiting for a slot.
    """

    async def execute_in_slot(statement: sa.Executable, parameters: Parameters) -> Rows:
        if slots.are_all_taken and not may_wait:
            # A `PoolTimeout` would be logged, although skipping an optional write is not a fault.
            raise Overloaded
        if _surrounding_transaction_occupies(slots):
            return await execute_statement(statement, parameters)
        await slots.take()
        try:
            return await execute_statement(statement, parameters)
        finally:
            slots.put_back()

    return execute_in_slot
