"""Turns of callers: each has at most one turn at a time, so that nobody blocks the others."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.core.caller_limits import Caller, CallerLimits


class CallerTurns:
    """Lets the requests of one caller take turns. The requests of others do not wait for them.

    A caller is a user, or all clients of a network that do not send a token. The limits apply to
    the requests that have their turn or wait for it.
    """

    def __init__(self, limits: CallerLimits) -> None:
        self._limits = limits
        # A lock exists as long as a request has its turn or waits.
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def take_turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait until no other request of the caller has its turn, and take the turn for a block.

        Raises `TooManyRequests` or `Overloaded` if a limit is reached.
        """
        with self._limits.reserve(caller):
            lock = self._find_lock(caller)
            async with lock:
                yield

    def _find_lock(self, caller: Caller) -> asyncio.Lock:
        """Return the lock that the requests of a caller share."""
        owner: Hashable = caller.user_id
        if caller.user_id is None:
            owner = caller.network
        return self._locks.setdefault(owner, asyncio.Lock())
