"""Side effects of a transaction: callbacks that run in the background after its COMMIT."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

Callback = Callable[[], Awaitable[object]]
log = logging.getLogger(__name__)


class CallbackRunner:
    """Runs after-commit callbacks in background tasks, so that responses do not wait for them.

    Log lines of a callback contain the id of the request that started it, because a task inherits
    its context variables. If a callback raises an exception, it is only logged.
    """

    def __init__(self) -> None:
        # Strong references to the running tasks, because the event loop keeps only weak ones.
        self._running_tasks: set[asyncio.Task[None]] = set()

    def start(self, callback: Callback) -> None:
        """Run a callback in the background."""
        task = asyncio.create_task(_run_and_log_exception(callback))
        self._running_tasks.add(task)
        task.add_done_callback(self._running_tasks.discard)

    async def wait(self) -> None:
        """Wait until all callbacks have ended, including those that other callbacks start."""
        while self._running_tasks:
            await asyncio.wait(self._running_tasks)

    async def close(self, timeout_seconds: float) -> None:
        """Wait for all callbacks. Cancel those that are still running after the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.wait()
        except TimeoutError:
            log.warning("%d after-commit callbacks were cancelled", len(self._running_tasks))
            for task in self._running_tasks:
                task.cancel()


async def _run_and_log_exception(callback: Callback) -> None:
    """Run a callback and log its exception, if it raises one."""
    try:
        await callback()
    except Exception:
        log.exception("an after-commit callback failed")
