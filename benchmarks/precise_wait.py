"""Waits for sockets with a timeout of less than a millisecond.

The timers of asyncio and uvloop count milliseconds, which is too coarse to delay a message by half
of one, or to send thousands of requests per second at certain times.
"""

import select
from selectors import DefaultSelector, SelectorKey


def wait_for_events(
    selector: DefaultSelector, timeout: float | None
) -> list[tuple[SelectorKey, int]]:
    """Return the events of a selector. Wait for the first one for at most `timeout` seconds.

    epoll counts its timeout in milliseconds, and select in microseconds. An epoll object is itself
    a file that is readable when it has events, so that select can wait for it.
    """
    if timeout is None or timeout > 0:
        ready_files, _, _ = select.select([selector], [], [], timeout)
        if not ready_files:
            return []
    return selector.select(0)
