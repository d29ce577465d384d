"""Graceful shutdown: the process stops being ready a second before the server stops."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SHUTDOWN_DELAY_SECONDS: Final = 1.0


class Shutdown:
    """Records whether this process has been told to shut down.

    Timeline of a shutdown:

        0 s  SIGTERM: `/readyz` returns 503, and each response closes its connection
        1 s  the server closes its port and waits for the requests in progress
        7 s  the server cancels the requests that are left
    """

    def __init__(self) -> None:
        self.has_begun = False

    @contextmanager
    def delay_server_shutdown(self) -> Iterator[None]:
        """Let the server handle SIGTERM `SHUTDOWN_DELAY_SECONDS` late while the block lasts.

        The server closes its port when it handles SIGTERM. Without the delay, a readiness probe
        could no longer connect to learn why, and a client that sends a request on an idle
        connection at that moment would get no response.
        """
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)
        # Without a server, for example in a test, nothing handles the signal.
        if not callable(server_handler):
            yield
            return

        def handle_sigterm(signal_number: int, _frame: object) -> None:
            self.has_begun = True
            # A signal handler runs outside the event loop, so it has to wake the loop.
            loop.call_soon_threadsafe(
                loop.call_later, SHUTDOWN_DELAY_SECONDS, server_handler, signal_number, None
            )

        signal.signal(signal.SIGTERM, handle_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)
