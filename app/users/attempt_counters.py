"""Counters that limit how often passwords can be guessed, and how often users can register.

Each counter is a leaky bucket: an attempt raises its level by 1, and the level falls steadily, for
example by 1 every ten minutes. A full counter refuses attempts until the level has fallen by 1. A
row stores only the time at which the counter will be empty, `empty_at`, because the level follows
from it. With one step every ten minutes and at most three attempts in a row, for example:

    time   event                   empty_at  level
    12:00  attempt                 12:10     1
    12:00  attempt                 12:20     2
    12:05                          12:20     1.5
    12:05  attempt                 12:30     2.5
    12:06  attempt, refused        12:30     2.4
    12:10  attempt                 12:40     3, which is full
    12:40                          12:40     0

A counter has room for an attempt if its level is at most 2, which is one less than its limit. This
is the case if `empty_at` is at most 20 minutes ahead, which is the `full_time` of the limit.

All processes share the counters, because they are in the database. The statement that counts an
attempt also checks the limit, so that concurrent attempts cannot exceed it. The limits and the
reasons for them are in `docs/decisions/failed-logins.md`.
"""

from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.core.db import Parameters, Session, delete_by_table_scan
from app.users.models import AttemptCounter

# Stands for the network of all clients whose address is unknown, for example behind a Unix socket.
# They are counted together.
UNKNOWN_NETWORK: Final = "unknown"
_is_expired: Final = AttemptCounter.expires_at < sa.func.now()
# The first condition reads the counter without a lock, so that attempts at a full counter do not
# wait for each other. ON CONFLICT waits for a concurrent attempt, and the second condition then
# checks the changed counter. now() would be the time at which the statement began, so a counter
# that a concurrent attempt has changed since then would be ahead of it, and could look full.
_COUNT_ATTEMPT: Final = sa.text("""
    WITH counted AS (
        INSERT INTO attempt_counters AS counter (kind, digest, attempted_at, empty_at)
        SELECT CAST(:kind AS text), CAST(:digest AS bytea), now(), clock_timestamp() + :step
        WHERE NOT EXISTS (
            SELECT FROM attempt_counters
            WHERE kind = :kind AND digest = :digest AND empty_at > clock_timestamp() + :full_time
        )
        ON CONFLICT (kind, digest) DO UPDATE
        SET attempted_at = now(), empty_at = greatest(counter.empty_at, clock_timestamp()) + :step
        WHERE counter.empty_at <= clock_timestamp() + :full_time
        RETURNING kind
    )
    SELECT
        EXISTS (SELECT FROM counted) AS is_counted,
        (
            SELECT CAST(
                ceil(extract(epoch FROM empty_at - :full_time - clock_timestamp())) AS integer
            )
            FROM attempt_counters WHERE kind = :kind AND digest = :digest
        ) AS seconds_to_wait
""")
_UNDO_ATTEMPT: Final = sa.text("""
    UPDATE attempt_counters SET empty_at = empty_at - CAST(:step AS interval)
    WHERE kind = :kind AND digest = :digest
""")


class AttemptLimit(NamedTuple):
    """A number of attempts that may follow each other immediately, and the rate after that.

    For example, `AttemptLimit(burst=10, step=timedelta(minutes=10))` allows ten attempts
    immediately, and then one every ten minutes.
    """

    burst: int
    # The time in which the level falls by 1.
    step: timedelta

    @property
    def full_time(self) -> timedelta:
        """The time that a counter needs to become empty if it has room for exactly one attempt."""
        return (self.burst - 1) * self.step


class AttemptCounterRepository:
    """Counts attempts of several kinds, for example the registrations from each network.

    A counter has a kind and the SHA-256 digest of what it counts for, for example of a network.

    The session must commit each statement by itself. In a transaction, the counter would stay
    locked until the end of the transaction, and a rollback would undo the count.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def count_attempt(self, kind: str, digest: bytes, limit: AttemptLimit) -> int:
        """Count an attempt and return 0. If the counter is full, return the seconds to wait.

        The seconds are rounded up, so that a client that waits for this time is not refused again.
        """
        parameters = _create_parameters(kind, digest, limit)
        while True:
            [row] = await self._session.execute(_COUNT_ATTEMPT, parameters)
            if row["is_counted"]:
                return 0
            seconds_to_wait: int | None = row["seconds_to_wait"]
            if seconds_to_wait is not None and seconds_to_wait > 0:
                return seconds_to_wait
            # A concurrent attempt has filled the counter after it was read. Read it again.

    async def undo_attempt(self, kind: str, digest: bytes, limit: AttemptLimit) -> None:
        """Lower the level of a counter by 1, because an attempt that was counted has succeeded."""
        await self._session.execute(_UNDO_ATTEMPT, _create_parameters(kind, digest, limit))

    async def delete_expired_counters(self) -> int:
        """Delete the counters that have become empty. Return the number of deleted counters.

        The counter of an account and a network at which its owner has logged in is kept for the
        time during which the network is known (`known_time` in `login_attempts.py`).
        """
        return await delete_by_table_scan(self._session, AttemptCounter, _is_expired)


def _create_parameters(kind: str, digest: bytes, limit: AttemptLimit) -> Parameters:
    """Return the parameters of the SQL statements for one counter with a limit."""
    return {"kind": kind, "digest": digest, "step": limit.step, "full_time": limit.full_time}
