"""Observes which sessions block an upgrade, so that an operator can find and end them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db import DATABASE_AND_OS_ERRORS

# Less than half of the time that a statement waits for a lock, so that no wait is missed.
POLL_SECONDS: Final = 0.2
# A longer wait is logged while it lasts. Only statements that block no requests wait for so long.
LONG_WAIT_SECONDS: Final = 5.0
# Queries are not selected, because they may contain secrets. The names are null in a row about a
# session whose details the role may not see. The pid of a prepared transaction is 0.
SELECT_BLOCKERS: Final = text("""
SELECT waiting.locktype, waiting.mode, waiting.relation::regclass::text AS relation,
    blocker.pid, activity.usename, activity.application_name, activity.state,
    round(extract(epoch FROM clock_timestamp() - activity.xact_start)) AS transaction_seconds
FROM pg_locks AS waiting
CROSS JOIN unnest(pg_blocking_pids(waiting.pid)) AS blocker(pid)
LEFT JOIN pg_stat_activity AS activity ON activity.pid = blocker.pid
WHERE waiting.pid = :pid AND NOT waiting.granted
ORDER BY transaction_seconds DESC NULLS LAST
""")
UNKNOWN_BLOCKER: Final = "a lock of a session that could not be observed"
log = logging.getLogger("migrations")


class LockMonitor:
    """Remembers what the session of an upgrade has last waited for.

    Args:
        observer: A connection in autocommit mode, which nothing else uses at the same time.
        pid: The id of the session that is observed.
    """

    def __init__(self, observer: AsyncConnection, pid: int) -> None:
        self._observer = observer
        self._pid = pid
        # For example "AccessExclusiveLock on books, blocked by session 4711 (user ada, ...)".
        self.last_wait = UNKNOWN_BLOCKER
        self._waiting_since: float | None = None
        self._is_logged = False

    @asynccontextmanager
    async def observe(self) -> AsyncIterator[None]:
        """Observe the session until the block ends."""
        is_over = asyncio.Event()
        task = asyncio.create_task(self._poll(is_over))
        try:
            yield
        finally:
            # Cancelling a query would close its connection, which is still needed.
            is_over.set()
            await task

    async def _poll(self, is_over: asyncio.Event) -> None:
        # An upgrade does not depend on its monitor.
        with suppress(*DATABASE_AND_OS_ERRORS):
            while not is_over.is_set():
                result = await self._observer.execute(SELECT_BLOCKERS, {"pid": self._pid})
                self._record(result.mappings().all())
                with suppress(TimeoutError):
                    await asyncio.wait_for(is_over.wait(), POLL_SECONDS)

    def _record(self, blockers: Sequence[RowMapping]) -> None:
        """Remember the current wait, if there is one, and log it when it becomes long."""
        if not blockers:
            self._waiting_since = None
            self._is_logged = False
            return
        self.last_wait = describe_wait(blockers)
        now = asyncio.get_running_loop().time()
        if self._waiting_since is None:
            self._waiting_since = now
        is_long = now - self._waiting_since >= LONG_WAIT_SECONDS
        if is_long and not self._is_logged:
            log.warning("Waiting, without blocking requests, for %s", self.last_wait)
            self._is_logged = True


def describe_wait(blockers: Sequence[RowMapping]) -> str:
    """Return what a session waits for, and which sessions block it. The list is not empty."""
    first = blockers[0]
    lock = f"{first['mode']} on {first['relation']}"
    # A concurrent build waits for transactions (`virtualxid`), and not for a table.
    if first["relation"] is None:
        lock = f"the end of another session's work ({first['locktype']})"
    sessions = [describe_session(blocker) for blocker in blockers]
    return f"{lock}, blocked by {'; '.join(sessions)}"


def describe_session(blocker: RowMapping) -> str:
    """Return a session as in "session 4711 (user ada, application psql, active for 12 s)"."""
    if blocker["pid"] == 0:
        return "a prepared transaction (pg_prepared_xacts)"
    details = []
    if blocker["usename"]:
        details.append(f"user {blocker['usename']}")
    if blocker["application_name"]:
        details.append(f"application {blocker['application_name']}")
    if blocker["transaction_seconds"] is not None:
        details.append(
            f"{blocker['state']}, transaction open for {blocker['transaction_seconds']} s"
        )
    return f"session {blocker['pid']} ({', '.join(details) or 'details are not visible'})"
