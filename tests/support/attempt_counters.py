"""The counters that limit attempts: reading and setting their levels in the database.

Tests do not wait. They set the levels, or the time that has passed since.
"""

from datetime import timedelta
from typing import Any

from app.core.db import Database
from app.users.attempt_counters import AttemptLimit
from app.users.login_attempts import ACCOUNT_LIMIT, NETWORK_LIMIT, PAIR_LIMIT
from tests.support.accounts import fetch_value

LIMITS = {
    "pair": PAIR_LIMIT,
    "network": NETWORK_LIMIT,
    "account": ACCOUNT_LIMIT,
    # The default of the setting MAX_REGISTRATIONS_PER_HOUR.
    "registration": AttemptLimit(burst=100, step=timedelta(seconds=36)),
}
_SET_LEVEL = """
UPDATE attempt_counters SET attempted_at = now() - interval '1 minute',
    empty_at = now() + CAST(:time AS interval)
WHERE kind = :kind RETURNING kind
"""
_LET_TIME_PASS = """
UPDATE attempt_counters SET attempted_at = attempted_at - CAST(:time AS interval),
    empty_at = empty_at - CAST(:time AS interval),
    counted_until = counted_until - CAST(:time AS interval),
    known_until = known_until - CAST(:time AS interval)
RETURNING kind
"""


async def read_levels(database: Database) -> dict[str, int]:
    """Return the sum of the levels of each kind, for example `{"pair": 2}`, without empty ones."""
    query = """
        SELECT jsonb_object_agg(kind, seconds) FROM (
            SELECT kind, sum(extract(epoch FROM empty_at - now())) AS seconds
            FROM attempt_counters WHERE empty_at > now() GROUP BY kind
        ) AS sums
    """
    seconds_by_kind = await fetch_value(database, query) or {}
    return {
        kind: round(seconds / LIMITS[kind].step.total_seconds())
        for kind, seconds in seconds_by_kind.items()
    }


async def set_levels(database: Database, **levels: float) -> None:
    """Set the levels of all existing counters of some kinds, for example `pair=10`."""
    for kind, level in levels.items():
        await fetch_value(database, _SET_LEVEL, kind=kind, time=level * LIMITS[kind].step)


async def let_time_pass(database: Database, time: timedelta) -> None:
    """Change all counters as if some time had passed."""
    await fetch_value(database, _LET_TIME_PASS, time=time)


async def read_rows(database: Database) -> Any:
    """Return all counters as JSON, to compare them later."""
    query = "SELECT jsonb_agg(to_jsonb(c) ORDER BY kind, digest)::text FROM attempt_counters c"
    return await fetch_value(database, query)
