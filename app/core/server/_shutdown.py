"""The beginning of a shutdown: the process stops being ready before the server stops."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SHUTDOWN_DELAY_SECONDS: Final = 1.0


class Shutdown:
    """Records that this process has been told to shut down.

    The timeline of a shutdown:

        0 s  SIGTERM: `/readyz` is 503 and each response closes its connection
        1 s  the server closes its port and waits for the requests in progress
        7 s  the server cancels the requests that are left
    """

    def __init__(self) -> None:
        self.has_begun = False

    @contextmanager
    def delay_server_shutdown(self) -> Iterator[None]:
        """Let the server handle SIGTERM `SHUTDOWN_DELAY_SECONDS` late while the block lasts.

        On SIGTERM the server closes its port immediately. Without the delay a readiness probe could
        not learn why, and a client that has just sent a request on an idle connection would get no
        response.
        """
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)
        # No server runs, for example in a test.
        if not callable(server_handler):
            yield
            return

        def begin(number: int, _frame: object) -> None:
            self.has_begun = True
            loop.call_soon_threadsafe(
                loop.call_later, SHUTDOWN_DELAY_SECONDS, server_handler, number, None
            )

        signal.signal(signal.SIGTERM, begin)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)
