"""A queue in which each caller has at most one turn at a time, so that nobody blocks the others."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from app.core.errors import Overloaded


class CallerTurns:
    """Lets the requests of one caller take turns. The requests of others do not wait for them.

    A caller is, for example, the id of a user. The numbers of callers and of requests are limited,
    so that the queue does not grow without bounds.
    """

    def __init__(self, max_callers: int, max_requests_per_caller: int) -> None:
        """Create an empty queue.

        Args:
            max_callers: The number of callers that may have a turn at the same time.
            max_requests_per_caller: The number of requests of one caller, of which one has its turn
                and the others wait.
        """
        self._max_callers = max_callers
        self._max_requests_per_caller = max_requests_per_caller
        self._callers: dict[Hashable, _Caller] = {}

    @asynccontextmanager
    async def take_turn(self, caller_id: Hashable) -> AsyncIterator[None]:
        """Wait until no other request of the caller has its turn, and take the turn for a block.

        Raises `Overloaded` if too many callers have a turn, or too many requests of this one wait.
        """
        caller = self._find_caller(caller_id)
        caller.request_count += 1
        try:
            async with caller.lock:
                yield
        finally:
            caller.request_count -= 1
            if caller.request_count == 0:
                del self._callers[caller_id]

    def _find_caller(self, caller_id: Hashable) -> "_Caller":
        """Return the state of a caller. Raises `Overloaded` if a limit is reached."""
        if caller_id not in self._callers:
            if len(self._callers) >= self._max_callers:
                raise Overloaded
            self._callers[caller_id] = _Caller()
        caller = self._callers[caller_id]
        if caller.request_count >= self._max_requests_per_caller:
            raise Overloaded
        return caller


class _Caller:
    """The requests of one caller that wait or have their turn."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.request_count = 0
