"""The sessions of an upgrade: their timeouts, and the lock that admits one upgrade at a time.

An upgrade uses two connections. The first one runs the revisions. The second one observes which
sessions block the first one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from alembic.util import CommandError
from sqlalchemy import Connection, event, pool, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app import NAME
from app.core.db import (
    DATABASE_AND_OS_ERRORS,
    TRANSACTION_POOLER_OPTIONS,
    create_postgres_engine,
    prefer_primary,
)

# A statement that waits for the lock of a table blocks all later requests that use the table.
# Requests wait for a lock for DB_STATEMENT_TIMEOUT / 2, which is 2.5 seconds by default. Postgres
# looks for deadlocks after a second, so that it never chooses a request to resolve one.
LOCK_TIMEOUT: Final = "500ms"
# Replaces the role's statement_timeout, which is too short to validate a constraint of a large table.
STATEMENT_TIMEOUT: Final = "15min"
TIMEOUTS: Final = {"lock_timeout": LOCK_TIMEOUT, "statement_timeout": STATEMENT_TIMEOUT}
# CREATE INDEX CONCURRENTLY has to wait for open transactions, but does not block requests.
CONCURRENT_TIMEOUTS: Final = {"lock_timeout": "0", "statement_timeout": "0"}
# The role or the database may have other settings for requests. Their timeouts would end an upgrade,
# and a revision that changes rows could fail under a stricter isolation than its author assumed.
SESSION_SETTINGS: Final = {
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
}
# The key of the advisory lock that every upgrade takes. It is a random number.
UPGRADE_LOCK_KEY: Final = 7_305_011_972_015_236
TRY_UPGRADE_LOCK: Final = text(f"SELECT pg_try_advisory_lock({UPGRADE_LOCK_KEY})")
RELEASE_UPGRADE_LOCK: Final = text(f"SELECT pg_advisory_unlock({UPGRADE_LOCK_KEY})")
# Postgres shows the two halves of the key as `classid` and `objid`.
SELECT_UPGRADE_LOCK_HOLDER: Final = text("""
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
AND (classid::bigint << 32) + objid::bigint = :key
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
LOCK_POLL_SECONDS: Final = 0.2
SELECT_PID: Final = text("SELECT pg_backend_pid()")
# How often two connections are compared to find out whether a pooler shares them.
POOLER_CHECKS: Final = 3
POOLER_MESSAGE: Final = (
    "DATABASE_URL leads to a pooler that gives every transaction another connection. Migrations"
    " need a connection of their own, for their lock and their timeouts, which would otherwise"
    " remain on the connections of servers: use the address of Postgres, or of a pooler in session"
    " mode"
)
SELECT_READ_ONLY: Final = text("SELECT current_setting('transaction_read_only')")
READ_ONLY_MESSAGE: Final = (
    "DATABASE_URL leads to a server that accepts no writes, usually a standby. Migrations need the"
    " primary: try again when there is one"
)
log = logging.getLogger("migrations")


@asynccontextmanager
async def open_sessions(url: URL) -> AsyncIterator[tuple[AsyncConnection, AsyncConnection]]:
    """Yield the connection that runs the revisions, and the one that observes it.

    Raises `CommandError` if the connections belong to a pooler in transaction mode, or if the
    server is read-only.
    """
    engine = create_engine(url)
    observing_engine = create_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    event.listen(engine.sync_engine, "begin", set_timeouts)
    event.listen(engine.sync_engine, "before_cursor_execute", set_timeouts_of_statement)
    async with engine.connect() as connection, observing_engine.connect() as observer:
        await forbid_transaction_pooler(connection, observer)
        if await connection.scalar(SELECT_READ_ONLY) == "on":
            raise CommandError(READ_ONLY_MESSAGE)
        for name, value in SESSION_SETTINGS.items():
            await connection.exec_driver_sql(f"SET {name} = '{value}'")
        await connection.commit()
        yield connection, observer


def create_engine(url: URL) -> AsyncEngine:
    """Return an engine whose connections are closed after each use, and name their purpose."""
    return create_postgres_engine(
        prefer_primary(url),
        postgres_settings={"application_name": f"{NAME} migrate"},
        connect_args=TRANSACTION_POOLER_OPTIONS,
        poolclass=pool.NullPool,
    )


async def forbid_transaction_pooler(*connections: AsyncConnection) -> None:
    """Raise `CommandError` if a connection changes between transactions, or is not the only user.

    A lock or a setting of a session would stay on a connection of the pooler, which it then gives
    to requests.
    """
    pids_of_connections = []
    for connection in connections:
        pids = set()
        for _ in range(POOLER_CHECKS):
            pids.add(await connection.scalar(SELECT_PID))
            await connection.rollback()
        pids_of_connections.append(pids)
    changes = any(len(pids) > 1 for pids in pids_of_connections)
    is_shared = len(set.union(*pids_of_connections)) < len(connections)
    if changes or is_shared:
        raise CommandError(POOLER_MESSAGE)


@asynccontextmanager
async def upgrade_lock(
    connection: AsyncConnection, observer: AsyncConnection
) -> AsyncIterator[None]:
    """Hold a lock on upgrades until the block ends. A second upgrade waits for the lock.

    The session that runs the revisions holds the lock, also after `autocommit_block` has committed
    its transaction. If the process is killed, Postgres finishes the statement that it is executing,
    and releases the lock only then. So a second upgrade never finds an index that is being built.
    """
    is_logged = False
    while not await connection.scalar(TRY_UPGRADE_LOCK):
        # Do not wait for the lock in Postgres. CREATE INDEX CONCURRENTLY in the other upgrade waits
        # for every transaction that has a snapshot, so both upgrades would wait forever.
        await connection.rollback()
        if not is_logged:
            pid = await observer.scalar(SELECT_UPGRADE_LOCK_HOLDER, {"key": UPGRADE_LOCK_KEY})
            log.warning("Waiting for another upgrade of this database to end (session %s)", pid)
            is_logged = True
        await asyncio.sleep(LOCK_POLL_SECONDS)
    await connection.commit()
    try:
        yield
    finally:
        # A lost connection has lost the lock too.
        with suppress(*DATABASE_AND_OS_ERRORS):
            await connection.rollback()
            await connection.scalar(RELEASE_UPGRADE_LOCK)
            await connection.commit()


def set_timeouts(connection: Connection) -> None:
    """Set the timeouts of statements at the start of a transaction."""
    for name, value in TIMEOUTS.items():
        connection.exec_driver_sql(f"SET {name} = '{value}'")


def set_timeouts_of_statement(
    connection: Connection, cursor: Any, statement: str, *_: object
) -> None:
    """Set the timeouts of a statement in an autocommit block."""
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        for name, value in timeouts_of(statement).items():
            cursor.execute(f"SET {name} = '{value}'")


def timeouts_of(statement: str) -> dict[str, str]:
    """Return the timeouts of a statement. "0" means that it may wait without a limit."""
    if "CONCURRENTLY" in statement.upper():
        return CONCURRENT_TIMEOUTS
    return TIMEOUTS
