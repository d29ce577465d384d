"""The policy for repeating work that Postgres has undone, for example to end a deadlock.

A conflict with concurrent work is repeated a few times. Before each attempt, the work waits for a
random time, so that the same transactions do not meet again. The longest time doubles, so that
fewer of them run at the same time the longer the conflict lasts:

    0 to 20 ms, 0 to 40 ms, 0 to 80 ms, 0 to 160 ms, 0 to 320 ms

An error that does not depend on concurrent work is repeated once, immediately.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeVar

from app.core.db._sqlstate import is_conflict, is_connection_lost, is_stale_plan
from app.settings import Settings

MAX_CONFLICT_RETRIES: Final = 5
# The longest wait before the first retry.
FIRST_WAIT_SECONDS: Final = 0.02
T = TypeVar("T")


class Retries:
    """Decides after each error of one operation whether and when to repeat it.

    Create the object when the operation fails for the first time.
    """

    def __init__(self, max_seconds: float, *, is_read: bool = False) -> None:
        """Begin with no retries.

        Args:
            max_seconds: No retry after a conflict begins later than this.
            is_read: The operation only reads, so it may be repeated after a lost connection.
        """
        self._deadline = monotonic() + max_seconds
        self._is_read = is_read
        self._conflict_retries = 0
        self._was_repeated_immediately = False

    def choose_wait(self, error: BaseException) -> float | None:
        """Return for how many seconds to wait before repeating the operation.

        Returns None if the operation must not be repeated. `error` is a database error, or a
        `ServiceError` whose cause is one.
        """
        if is_conflict(error):
            return self._choose_wait_after_conflict()
        may_repeat = is_stale_plan(error) or (self._is_read and is_connection_lost(error))
        if not may_repeat or self._was_repeated_immediately:
            return None
        self._was_repeated_immediately = True
        return 0.0

    def _choose_wait_after_conflict(self) -> float | None:
        """Return a random time that doubles, or None if there were too many conflicts."""
        longest_wait = FIRST_WAIT_SECONDS * 2**self._conflict_retries
        wait = random.uniform(0, longest_wait)  # noqa: S311 - not for security
        if self._conflict_retries == MAX_CONFLICT_RETRIES or monotonic() + wait > self._deadline:
            return None
        self._conflict_retries += 1
        return wait


@dataclass(frozen=True)
class RetryPolicy:
    """How long operations may be repeated.

    Args:
        max_seconds: No retry after a conflict begins later than this after the first failure.
    """

    max_seconds: float

    @classmethod
    def from_settings(cls, settings: Settings) -> "RetryPolicy":
        """Return a policy whose last attempt can still end within `request_timeout`."""
        attempt_seconds = settings.db_pool_timeout + settings.db_statement_timeout
        return cls(settings.request_timeout - attempt_seconds)

    def start(self, *, is_read: bool = False) -> Retries:
        """Return the retries of an operation that has just failed for the first time."""
        return Retries(self.max_seconds, is_read=is_read)

    async def run(self, run_transaction: Callable[[], Awaitable[T]], *, is_read: bool = False) -> T:
        """Run a transaction, repeat it if Postgres has undone it, and return its result.

        Args:
            run_transaction: Begins and commits the transaction. It must be able to run several
                times.
            is_read: The transaction only reads, so it may be repeated after a lost connection.
        """
        retries: Retries | None = None
        while True:
            try:
                return await run_transaction()
            except Exception as error:
                retries = retries or self.start(is_read=is_read)
                wait = retries.choose_wait(error)
                if wait is None:
                    raise
            # Wait outside of the `except` block, so that the next error does not contain this one.
            await asyncio.sleep(wait)
