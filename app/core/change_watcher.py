"""Wakes requests that wait for changes, with one query per process and half second."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final

from app.core.caller_limits import Caller, CallerLimits
from app.core.errors import ServiceError

# A changed row: the name of its table, and the id of its owner, if it has one.
ChangedRow = tuple[str, int | None]
# Returns the current horizon, and the rows whose changes have been completed since an earlier one.
# Transactions before the horizon are complete.
FindChanges = Callable[[int], Awaitable[tuple[int, set[ChangedRow]]]]
POLL_SECONDS: Final = 0.5
# Requests of one process. Each occupies a connection of its client, but none to the database.
MAX_WAITING_REQUESTS: Final = 500
# A change wakes many requests at the same time, and their clients send the next ones together.
# Without a limit, they would fill the queue for database connections, so that others get 503.
MAX_CONCURRENT_READS: Final = 4


@dataclass(eq=False)
class _Waiter:
    """A request that waits for a change.

    Args:
        is_visible: Returns whether its principal may see the changes of a row.
        horizon: The changes of transactions before this one have been looked at.
    """

    is_visible: Callable[[ChangedRow], bool]
    horizon: int
    event: asyncio.Event = field(default_factory=asyncio.Event)


class ChangeWatcher:
    """Lets requests wait for changes. The requests of a process share one watcher.

    It queries the database only while a request waits.
    """

    def __init__(self, find_changes: FindChanges, is_shutting_down: Callable[[], bool]) -> None:
        """Create the watcher.

        Args:
            find_changes: Finds the changes that are new to the requests.
            is_shutting_down: Whether the process is shutting down, so that requests must end.
        """
        self._find_changes = find_changes
        self._is_shutting_down = is_shutting_down
        self._limits = CallerLimits(
            "requests that wait for changes",
            total=MAX_WAITING_REQUESTS,
            per_network=MAX_WAITING_REQUESTS * 3 // 4,
            per_user=MAX_WAITING_REQUESTS // 10,
        )
        # Each read of the feed holds a slot.
        self.read_slots = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._waiters: set[_Waiter] = set()
        self._task: asyncio.Task[None] | None = None

    def reserve(self, caller: Caller) -> AbstractContextManager[None]:
        """Count a request that may wait. Raises `TooManyRequests` or `Overloaded`."""
        return self._limits.reserve(caller)

    async def wait(
        self, is_visible: Callable[[ChangedRow], bool], horizon: int, timeout_seconds: float
    ) -> bool:
        """Wait for a change that a principal may see. Return False if it is time to respond.

        Args:
            is_visible: Returns whether the principal may see the changes of a row.
            horizon: The horizon of the caller's last read, which returned no change.
            timeout_seconds: How long to wait at most.
        """
        if self._is_shutting_down() or timeout_seconds <= 0:
            return False
        waiter = _Waiter(is_visible, horizon)
        self._waiters.add(waiter)
        if self._task is None:
            # Without a context of its own, the task would belong to this request.
            self._task = asyncio.create_task(self._poll(), context=Context())
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter.event.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True

    def close(self) -> None:
        """Stop looking for changes, and wake all requests."""
        if self._task is not None:
            self._task.cancel()

    async def _poll(self) -> None:
        """Look for changes until no request waits."""
        try:
            while self._waiters and not self._is_shutting_down():
                await self._wake_waiters()
                await asyncio.sleep(POLL_SECONDS)
        except ServiceError:
            # The requests read the feed again, and respond with the error if it persists.
            pass
        finally:
            self._task = None
            for waiter in self._waiters:
                waiter.event.set()

    async def _wake_waiters(self) -> None:
        """Look for new changes, and wake the requests whose principals see one of them."""
        waiters = list(self._waiters)
        earliest_horizon = min(waiter.horizon for waiter in waiters)
        horizon, changed_rows = await self._find_changes(earliest_horizon)
        for waiter in waiters:
            waiter.horizon = horizon
            if any(map(waiter.is_visible, changed_rows)):
                waiter.event.set()
