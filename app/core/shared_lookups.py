"""Looks up what concurrent requests need with one call instead of one for each of them."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import Context
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
# Returns the values of the keys that exist.
LookUp = Callable[[Collection[KeyT]], Awaitable[Mapping[KeyT, ValueT]]]


class SharedLookups(Generic[KeyT, ValueT]):
    """Looks up all keys with one call that are requested in the same iteration of the event loop.

    Nobody waits longer than with a call of their own: the call begins in the next iteration. A busy
    process handles several requests in an iteration, so the calls become fewer when it matters.

    Nothing is cached. The call for a key begins after the key was requested, so its value is as new
    as that of a call for this key alone.

    A call may have any number of keys, so it should take much less time for a key than the event
    loop takes for its request.
    """

    def __init__(self, look_up: LookUp[KeyT, ValueT]) -> None:
        self._look_up = look_up
        self._callers: list[tuple[KeyT, asyncio.Future[ValueT | None]]] = []
        # The event loop itself keeps only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: KeyT) -> ValueT | None:
        """Return the value of a key, or None if it does not exist.

        If the call fails, all of its callers get the error.
        """
        event_loop = asyncio.get_running_loop()
        future: asyncio.Future[ValueT | None] = event_loop.create_future()
        self._callers.append((key, future))
        if len(self._callers) == 1:
            # The call belongs to several requests, so it has the context of none of them, and
            # continues if one of them is cancelled.
            task = event_loop.create_task(self._look_up_keys(), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _look_up_keys(self) -> None:
        """Look up the keys of all callers with one call, and give them the values."""
        callers = self._callers
        self._callers = []
        try:
            values = await self._look_up({key for key, _ in callers})
        except BaseException as error:
            for _, future in callers:
                if not future.done():
                    future.set_exception(error)
            if isinstance(error, Exception):
                return
            raise
        for key, future in callers:
            # The future of a caller that was cancelled is done.
            if not future.done():
                future.set_result(values.get(key))
