"""Side effects of a transaction: callbacks that run in the background after its COMMIT."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

Callback = Callable[[], Awaitable[object]]
log = logging.getLogger(__name__)


class BackgroundCallbacks:
    """Runs callbacks in the background, each in its own task, so that no response waits for them.

    A task inherits the context variables of the code that starts it, for example the request id. An
    exception in a callback is logged and has no other effect.
    """

    def __init__(self) -> None:
        # References to the running tasks. The event loop itself keeps only weak references.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, callback: Callback) -> None:
        """Run a callback in the background."""
        task = asyncio.create_task(_run_and_log_exception(callback))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until no callback is running, including callbacks that other callbacks start."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - also cancels callbacks
        """Wait for all callbacks. Cancel those that are still running after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.wait()
        except TimeoutError:
            log.warning("%d after-commit callbacks were cancelled", len(self._tasks))
            for task in self._tasks:
                task.cancel()


async def _run_and_log_exception(callback: Callback) -> None:
    try:
        await callback()
    except Exception:
        log.exception("an after-commit callback failed")
