"""Queries that wait for the synchronous standby, so that a failover cannot undo what they find."""

from typing import Any, TypeVar

import sqlalchemy as sa

SelectT = TypeVar("SelectT", bound=sa.Select[Any])


def require_replication(query: SelectT) -> SelectT:
    """Return a query that does not end before the rows that it finds are on the standby.

        SELECT ... FOR KEY SHARE

    A response that confirms the change of an earlier request has to execute such a query first. The
    COMMIT of that request may have been interrupted while it waited for the standby. Its change is
    visible since then, but a failover can still undo it. The WAL contains the lock of a row after
    all changes of the row, and COMMIT waits until the standby has the lock.

    The lock makes only a deletion of the row wait. If Postgres has no synchronous standby, or if no
    row is found, COMMIT does not wait. Execute the query with a session for writes, or with the
    session `locking_reads`, so that the COMMITs that wait do not occupy all connections.
    """
    return query.with_for_update(read=True, key_share=True)
