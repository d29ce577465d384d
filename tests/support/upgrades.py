"""Upgrades of one database at the same time, which wait for the lock in `migrations/env.py`."""

from asyncio import Task
from typing import Any

import asyncpg

from tests.support.processes import poll_until

# The key of the lock, which an upgrade holds.
ADVISORY_LOCK = 7_305_011_972_015_236
# Returns true if two upgrades are connected and wait for the lock without a snapshot.
_BOTH_WAIT = """
SELECT count(*) = 2 AND bool_and(query LIKE 'ROLLBACK%' AND backend_xmin IS NULL)
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


async def wait_until_both_wait(connection: asyncpg.Connection, upgrades: list[Task[Any]]) -> None:
    """Return when two upgrades wait for the lock. Fails if one of them has ended.

    Other connections to the database must not be open.
    """

    async def both_wait() -> bool:
        is_waiting: bool = await connection.fetchval(_BOTH_WAIT)
        return is_waiting or any(upgrade.done() for upgrade in upgrades)

    await poll_until(both_wait)
    assert not any(upgrade.done() for upgrade in upgrades)
