"""Side effects of a transaction: callbacks that run in the background after its COMMIT."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

Callback = Callable[[], Awaitable[object]]
log = logging.getLogger(__name__)


class BackgroundCallbacks:
    """The callbacks of one database that are running now.

    A callback runs in a task of its own, so that no response waits for it. The task inherits the
    context variables of its caller, for example the request id. If the callback raises, the
    exception is logged and goes nowhere else.
    """

    def __init__(self) -> None:
        # The event loop keeps only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, callback: Callback) -> None:
        task = asyncio.create_task(_run(callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until no callback is running, including those that callbacks start."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - also cancels what is left
        """Wait for the callbacks for `timeout` seconds, and then cancel them."""
        try:
            async with asyncio.timeout(timeout):
                await self.wait()
        except TimeoutError:
            log.warning("%d callbacks after commits were cancelled", len(self._tasks))
            for task in self._tasks:
                task.cancel()


async def _run(callback: Callback) -> None:
    try:
        await callback()
    except Exception:
        log.exception("a callback after a commit failed")
