"""The time of the data of a report, which may be old because it comes from a standby.

A standby replays the changes of the primary with a delay, for example because it has lost the
connection to the primary.
"""

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from app.core.db import Session

# A statement that begins after this one sees every change that was committed before `data_as_of`.
# NULL means that the time is unknown.
#
# - On a primary the time is now. But a server that is not a standby may also be a copy, such as a
#   warehouse or a former standby, whose age is unknown. The parameter `may_be_copy` tells so.
# - On a standby it is the time of the last commit that has been replayed. While the primary is
#   idle, that time stays the same, although nothing is missing. Therefore, a standby that has
#   replayed everything up to the end of the WAL in the last message of the primary has the data of
#   that message's time. A role without the privileges of pg_read_all_stats sees only that the
#   standby is connected. Postgres ends a connection after `wal_receiver_timeout` (60 s) without a
#   message, so a standby that has replayed everything it has received has the data of 60 s ago.
# - Aurora has replicas without WAL, on which the functions for WAL fail.
#
# Postgres evaluates a branch of CASE, and the subquery in it, only if it is needed.
_SELECT_DATA_TIME: Final = (
    sa.text("""
SELECT CASE
    WHEN to_regproc('aurora_version') IS NOT NULL AND pg_is_in_recovery() THEN NULL
    WHEN pg_is_in_recovery() THEN greatest(pg_last_xact_replay_timestamp(), (
        SELECT CASE
            WHEN latest_end_lsn <= pg_last_wal_replay_lsn() THEN last_msg_send_time
            WHEN latest_end_lsn IS NULL AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()
            THEN now() - nullif(CAST(current_setting('wal_receiver_timeout') AS interval), '0')
        END FROM pg_stat_wal_receiver
    ))
    WHEN NOT :may_be_copy THEN now()
END AS data_as_of
""")
    .bindparams(sa.bindparam("may_be_copy", type_=sa.Boolean))
    .columns(sa.column("data_as_of", sa.DateTime(timezone=True)))
)


class DataTimeRepository:
    """Reads how old the data of a database is."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find_data_time(self, *, may_be_copy: bool) -> datetime | None:
        """Return a time before which every committed change is visible to the next statement.

        Returns None if the time is unknown. The next statement has to use the same connection.

        Args:
            may_be_copy: Whether a server that is not a standby may have older data than the main
                database.
        """
        [row] = await self._session.execute(_SELECT_DATA_TIME, {"may_be_copy": may_be_copy})
        data_as_of: datetime | None = row["data_as_of"]
        return data_as_of
