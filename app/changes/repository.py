"""The SQL of the change feed."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.changes.cursors import Position
from app.changes.models import Change
from app.changes.visibility import Visibility
from app.core.change_watcher import ChangedRow
from app.core.db import Condition, Row, RowsToChange, Session, delete_in_batches

# One query passes over at most this many changes that the reader may not see.
SCAN_SIZE: Final = 1000
# The transaction after the last change that readers may see. This is not the horizon, because a
# cursor must not pass a transaction that was rolled back: the server may use the number again after
# a crash or a failover, which keep only what was committed.
_END: Final = """coalesce((
        SELECT xid + 1 FROM changes WHERE xid < change_feed_horizon()
        ORDER BY xid DESC, sequence DESC LIMIT 1
    ), first_xid)"""
_SELECT_STATE: Final = sa.text(f"""
SELECT epoch, is_recording, home = change_feed_home() AS is_at_home, first_xid, {_END} AS end_xid
FROM change_feed
""")  # noqa: S608 - inserts only a constant
# All values come from one snapshot, so that the state describes the changes. The last row has the
# number SCAN_SIZE if further changes may follow. Without changes, `xid` and the others are NULL.
# `delay_seconds` is the age of the oldest change that is hidden by an open transaction.
_SELECT_CHANGES: Final = sa.text(f"""
SELECT epoch, first_xid, horizon, {_END} AS end_xid,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid,
    pg_is_in_recovery() AS is_standby,
    extract(epoch FROM now() - (
        SELECT time FROM changes WHERE xid >= horizon ORDER BY xid, sequence LIMIT 1
    ))::float AS delay_seconds,
    scanned.*
FROM change_feed CROSS JOIN (SELECT change_feed_horizon() AS horizon) AS snapshot
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT xid, sequence, entity, entity_id, version, kind, time,
            entity = ANY (:entities) OR entity = ANY (:own_entities) AND owner_id = :user_id
                AS is_visible,
            row_number() OVER (ORDER BY xid, sequence) AS number
        FROM changes WHERE (xid, sequence) > (:xid, :sequence) AND xid < horizon
        ORDER BY xid, sequence LIMIT :scan_size
    ) AS numbered
    WHERE is_visible OR number = :scan_size ORDER BY xid, sequence LIMIT :size
) AS scanned ON true
""").bindparams(  # noqa: S608 - inserts only a constant
    sa.bindparam("entities", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("own_entities", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("user_id", type_=sa.BigInteger),
    sa.bindparam("xid", type_=sa.BigInteger),
    sa.bindparam("sequence", type_=sa.BigInteger),
    sa.bindparam("size", type_=sa.Integer),
    sa.bindparam("scan_size", SCAN_SIZE, type_=sa.Integer),
)
# The entities and owners of the changes that are complete now and were not at an earlier horizon.
_SELECT_NEW_CHANGES: Final = sa.text("""
SELECT horizon, news.* FROM (SELECT change_feed_horizon() AS horizon) AS snapshot
LEFT JOIN LATERAL (
    SELECT DISTINCT entity, owner_id FROM changes WHERE xid >= :xid AND xid < horizon
) AS news ON true
""").bindparams(sa.bindparam("xid", type_=sa.BigInteger))
# The transaction after the oldest ones whose changes are all old, if there are such changes. All
# changes of a transaction have the same time. Changes after an open transaction are kept, however
# old they are, because no reader has seen them.
_SELECT_FIRST_XID: Final = sa.text("""
WITH oldest AS (
    SELECT xid, time < now() - :max_age AS is_old FROM changes WHERE xid < change_feed_horizon()
    ORDER BY xid, sequence LIMIT 10000
)
SELECT max(xid) + 1 AS first_xid FROM oldest
WHERE xid < ALL (SELECT xid FROM oldest WHERE NOT is_old)
HAVING count(*) > 0
""").bindparams(sa.bindparam("max_age", type_=sa.Interval))
_UPDATE_FIRST_XID: Final = sa.text("""
UPDATE change_feed SET first_xid = :first_xid WHERE first_xid < :first_xid
""").bindparams(sa.bindparam("first_xid", type_=sa.BigInteger))
_START_EPOCH: Final = sa.text("""
UPDATE change_feed SET epoch = gen_random_uuid(), home = change_feed_home(), first_xid = 0
""")


@dataclass(frozen=True)
class FeedState:
    """The state of the feed. See `ChangeFeed` for its columns.

    Args:
        epoch: The key of the cursors.
        is_recording: Whether the triggers record changes.
        is_at_home: Whether the numbers of transactions belong to this database.
        first_xid: The position before the oldest change.
        end_xid: The position after the last change that readers may see.
    """

    epoch: UUID
    is_recording: bool
    is_at_home: bool
    first_xid: int
    end_xid: int


@dataclass(frozen=True)
class Scan:
    """Changes that follow each other in the feed.

    Args:
        changes: The visible ones among them, the oldest first.
        end: The position up to which the feed was read.
        is_complete: Whether all changes were read.
        horizon: The first transaction that may not be complete.
        delay_seconds: How old the oldest change is that waits for an open transaction, or 0.
    """

    changes: list[Row]
    end: Position
    is_complete: bool
    horizon: int
    delay_seconds: float


class ChangeRepository:
    """Reads the change feed, and deletes old changes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def read_state(self) -> FeedState:
        """Return the state of the feed."""
        [row] = await self._session.execute(_SELECT_STATE)
        return FeedState(**row)

    async def scan(
        self, after: Position, epoch: UUID, visibility: Visibility, size: int
    ) -> Scan | None:
        """Return at most `size` changes after a position, or fewer if most of them are invisible.

        The changes are sorted by the numbers of their transactions. Only changes before the oldest
        open transaction are returned, so that no later one can come before them.

        Returns None if changes after the position may be missing: they have been deleted, there is
        another epoch, or the position comes from a server that had later transactions.
        """
        parameters = {
            "entities": list(visibility.entities),
            "own_entities": list(visibility.own_entities),
            "user_id": visibility.user_id,
            "xid": after.xid,
            "sequence": after.sequence,
            "size": size,
        }
        rows = await self._session.execute(_SELECT_CHANGES, parameters)
        last = rows[-1]
        is_deleted = after.xid < last["first_xid"]
        # A standby may be behind, but a primary is so only after it has lost transactions.
        is_lost = after.xid > last["next_xid"] and not last["is_standby"]
        if is_deleted or is_lost or last["epoch"] != epoch:
            return None

        changes = [row for row in rows if row["is_visible"]]
        is_complete = len(changes) < size and last["number"] != SCAN_SIZE
        end = Position(last["xid"], last["sequence"])
        if is_complete:
            end = max(after, Position(last["end_xid"]))
        delay_seconds = last["delay_seconds"] or 0.0
        return Scan(changes, end, is_complete, last["horizon"], delay_seconds)

    async def find_new_changes(self, horizon: int) -> tuple[int, set[ChangedRow]]:
        """Return the current horizon, and the rows whose changes are complete since an earlier one.

        For example, `(1234, {("books", None), ("documents", 7)})`.
        """
        rows = await self._session.execute(_SELECT_NEW_CHANGES, {"xid": horizon})
        owners = {(row["entity"], row["owner_id"]) for row in rows if row["entity"] is not None}
        return rows[0]["horizon"], owners

    async def delete_old_changes(self, max_age: timedelta) -> int:
        """Delete the changes of the oldest transactions, and return the number of changes.

        Cursors before them become invalid first, so that no reader misses a change.
        """
        deleted_changes = 0
        while True:
            rows = await self._session.execute(_SELECT_FIRST_XID, {"max_age": max_age})
            if not rows:
                return deleted_changes
            first_xid = rows[0]["first_xid"]
            await self._session.execute(_UPDATE_FIRST_XID, {"first_xid": first_xid})
            deleted = await self._delete(Change.xid < first_xid)
            if deleted == 0:
                return deleted_changes
            deleted_changes += deleted

    async def start_epoch(self) -> int:
        """Delete all changes, and make all cursors invalid. Return the number of changes."""
        deleted_changes = await self._delete(sa.true())
        await self._session.execute(_START_EPOCH)
        return deleted_changes

    async def _delete(self, condition: Condition) -> int:
        rows = RowsToChange(Change, condition, order_by=Change.xid)
        return await delete_in_batches(self._session, rows)
