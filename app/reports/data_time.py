"""The time of the data of a report, which may be old because it comes from a standby.

A standby replays the changes of the primary with a delay, for example because it has lost the
connection to the primary.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Generic

import sqlalchemy as sa

from app.core.db import Session
from app.core.observability import REPORT_DATA_AGE
from app.core.paging import ItemT, Page

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


@dataclass(frozen=True)
class DatedPage(Generic[ItemT]):
    """One page of a report. Every change that was committed before `data_as_of` is in it.

    `data_as_of` is None if the time is unknown.
    """

    page: Page[ItemT]
    data_as_of: datetime | None


async def read_dated_page(
    session: Session, read_page: Callable[[Session], Awaitable[Page[ItemT]]], *, may_be_copy: bool
) -> DatedPage[ItemT]:
    """Read the time of the data, and then a page of a report. Export the age of the data.

    One transaction reads both, so that they come from the same server. The time is read first. In
    one statement with the page, it could be later than the data, because Postgres chooses the
    changes that a statement sees before it calls a function.

    Args:
        session: Begins the transaction.
        read_page: Reads the page with the session of the transaction.
        may_be_copy: Whether a server that is not a standby may have older data than the main
            database.
    """

    async def read(transaction: Session) -> DatedPage[ItemT]:
        [row] = await transaction.execute(_SELECT_DATA_TIME, {"may_be_copy": may_be_copy})
        return DatedPage(await read_page(transaction), row["data_as_of"])

    dated_page = await session.run_in_transaction(read)
    if dated_page.data_as_of is not None:
        age = datetime.now(UTC) - dated_page.data_as_of
        # The clocks of the servers may differ.
        REPORT_DATA_AGE.labels("reporting").set(max(0.0, age.total_seconds()))
    return dated_page
