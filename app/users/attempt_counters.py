"""Counters that limit how often passwords can be guessed, and how often users can register.

Each counter is a leaky bucket: an attempt raises its level by 1, and the level falls steadily, for
example by 1 every ten minutes. A full counter refuses attempts until the level has fallen by 1. A
row stores only the time at which the counter will be empty, because the level follows from it:

    level = (empty_at - now()) / seconds_per_attempt, or 0 if empty_at is in the past

All processes share the counters, because they are in the database. The statement that counts an
attempt also checks the limit, so that concurrent attempts cannot exceed it. The limits and the
reasons for them are in `docs/decisions/failed-logins.md`.
"""

from math import ceil
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.core.db import Rows, RowsToChange, Session, delete_in_batches
from app.users.models import AttemptCounter

_expired_counters: Final = RowsToChange(
    AttemptCounter, AttemptCounter.expires_at < sa.func.now(), order_by=AttemptCounter.expires_at
)


class AttemptLimit(NamedTuple):
    """A number of attempts that may follow each other immediately, and the rate after that.

    For example, `AttemptLimit(burst=10, seconds_per_attempt=600)` allows ten attempts immediately,
    and then one every ten minutes.
    """

    burst: int
    seconds_per_attempt: float

    @property
    def full_seconds(self) -> float:
        """The time that a counter still needs to become empty when the next attempt is refused.

        A counter has room for one more attempt if it will be empty within this time.
        """
        return (self.burst - 1) * self.seconds_per_attempt


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
        # The first condition reads the counter without a lock, so that attempts at a full counter
        # do not wait for each other. ON CONFLICT waits for a concurrent attempt, and the second
        # condition then checks the new state of the row.
        statement = """
            WITH counted AS (
                INSERT INTO attempt_counters AS counter (kind, digest, attempted_at, empty_at)
                SELECT CAST(:kind AS text), CAST(:digest AS bytea), now(),
                    now() + make_interval(secs => :seconds_per_attempt)
                WHERE NOT EXISTS (
                    SELECT FROM attempt_counters
                    WHERE kind = :kind AND digest = :digest
                        AND empty_at > now() + make_interval(secs => :full_seconds)
                )
                ON CONFLICT (kind, digest) DO UPDATE
                SET attempted_at = now(), empty_at = greatest(counter.empty_at, now())
                    + make_interval(secs => :seconds_per_attempt)
                WHERE counter.empty_at <= now() + make_interval(secs => :full_seconds)
                RETURNING kind
            )
            SELECT EXISTS (SELECT FROM counted) AS is_counted,
                (SELECT CAST(extract(epoch FROM empty_at - now()) AS float8) FROM attempt_counters
                 WHERE kind = :kind AND digest = :digest) AS seconds_until_empty
        """
        [row] = await self._execute(statement, kind, digest, limit)
        if row["is_counted"]:
            return 0
        # A concurrent attempt may have created or filled the counter after it was read.
        seconds_until_empty = row["seconds_until_empty"] or 0
        return max(1, ceil(seconds_until_empty - limit.full_seconds))

    async def undo_attempt(self, kind: str, digest: bytes, limit: AttemptLimit) -> None:
        """Lower the level of a counter by 1, because an attempt that was counted has succeeded."""
        statement = """
            UPDATE attempt_counters
            SET empty_at = empty_at - make_interval(secs => :seconds_per_attempt)
            WHERE kind = :kind AND digest = :digest
        """
        await self._execute(statement, kind, digest, limit)

    async def delete_expired_counters(self) -> int:
        """Delete the counters that have become empty. Return the number of deleted counters.

        The counter of an account and a network at which its owner has logged in is kept for the
        time during which the network is known (`KNOWN_DAYS`).
        """
        return await delete_in_batches(self._session, _expired_counters)

    async def _execute(self, statement: str, kind: str, digest: bytes, limit: AttemptLimit) -> Rows:
        """Execute a statement with the parameters of one counter and its limit."""
        parameters = {
            "kind": kind,
            "digest": digest,
            "seconds_per_attempt": float(limit.seconds_per_attempt),
            "full_seconds": float(limit.full_seconds),
        }
        return await self._session.execute(sa.text(statement), parameters)
