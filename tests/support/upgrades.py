"""Upgrades and downgrades of a database, and upgrades that wait for each other."""

import asyncio
from asyncio import Task
from typing import Any

import asyncpg
from alembic import command

from app import schema
from app.schema import DEFAULT_LOCK_TIMEOUT_SECONDS
from tests.support.processes import poll_until
from tests.support.servers import sqlalchemy_url

# The key of the lock that an upgrade holds, as in `migrations/sessions.py`.
ADVISORY_LOCK = 7_305_011_972_015_236
# Returns true if two upgrades are connected, have asked who holds the lock, and have no snapshot.
_BOTH_WAIT = """
SELECT count(*) FILTER (WHERE query LIKE '%FROM pg_locks%') = 2 AND bool_and(backend_xmin IS NULL)
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


async def upgrade_schema(
    url: str, revision: str = "head", lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
) -> str:
    """Apply the missing migrations of a database up to a revision. Return what `migrate` prints."""
    return await asyncio.to_thread(
        schema.upgrade, sqlalchemy_url(url), revision, lock_timeout_seconds
    )


async def downgrade_schema(
    url: str, revision: str, lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
) -> None:
    """Undo the migrations of a database that are newer than a revision."""
    config = schema.alembic_config(sqlalchemy_url(url), lock_timeout_seconds)
    await asyncio.to_thread(command.downgrade, config, revision)


async def wait_until_both_wait(connection: asyncpg.Connection, upgrades: list[Task[Any]]) -> None:
    """Return when two upgrades wait for the lock. Fails if one of them has ended.

    Other connections to the database must not be open.
    """

    async def both_wait() -> bool:
        is_waiting: bool = await connection.fetchval(_BOTH_WAIT)
        return is_waiting or any(upgrade.done() for upgrade in upgrades)

    await poll_until(both_wait)
    assert not any(upgrade.done() for upgrade in upgrades)
