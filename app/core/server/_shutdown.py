"""Graceful shutdown: the process stops being ready a second before the server stops."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from app.core.observability import record_shutdown

SHUTDOWN_DELAY_SECONDS: Final = 1.0


class Shutdown:
    """Records whether this process has been told to shut down.

    Timeline of a shutdown:

        0.0 s  SIGTERM: `/readyz` returns 503, and each response closes its connection
        1.1 s  the server closes its port and waits for the requests in progress
        1.6 s  the server closes connections that have not sent a request
        6.3 s  the server cancels the requests that are left
        8.3 s  the process exits, even if something has not been closed

    This class performs the first step, and `GracefulServer` the others.
    """

    def __init__(self) -> None:
        self.has_begun = False

    @contextmanager
    def delay_server_shutdown(self) -> Iterator[None]:
        """While the block lasts, delay the shutdown of the server after SIGTERM.

        The server continues to accept requests for `SHUTDOWN_DELAY_SECONDS`. In this time, load
        balancers notice that the process is not ready, and clients are told to close their idle
        connections. Without the delay, requests that arrive at that moment would fail.
        """
        loop = asyncio.get_running_loop()
        server_handler = signal.getsignal(signal.SIGTERM)
        is_main_thread = threading.current_thread() is threading.main_thread()
        # The application may run without a server, for example in a test. Some servers run it in
        # another thread, where Python permits no signal handlers.
        if not callable(server_handler) or not is_main_thread:
            yield
            return

        def handle_sigterm(signal_number: int, _frame: object) -> None:
            """Begin the shutdown, and call the server's own handler after the delay."""
            self.has_begun = True
            # The lock of a metric may be held by the code that the signal has interrupted.
            loop.call_soon_threadsafe(record_shutdown)
            # Python runs signal handlers outside of the event loop, so wake the loop first.
            loop.call_soon_threadsafe(
                loop.call_later, SHUTDOWN_DELAY_SECONDS, server_handler, signal_number, None
            )

        signal.signal(signal.SIGTERM, handle_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server_handler)
