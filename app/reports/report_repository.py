"""Base classes of reports, which say how old their data is, because they may come from a standby.

A standby replays the changes of the primary with a delay, for example because it has lost the
connection to the primary.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final, Generic

import sqlalchemy as sa

from app.core.db import ListRepository, ListStatements, Select, Session, mark_reusable
from app.core.observability import REPORT_DATA_AGE
from app.core.paging import ItemT, Page, PageQuery

# Every change that was committed before `data_as_of` is in the data that this statement reads. NULL
# means that the time is unknown.
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


class ReportStatements(ListStatements):
    """Builds the SQL statements of a report, which also select the time of its data."""

    @cache  # noqa: B019 - there is one object for each report
    def select_page(
        self,
        filter_names: frozenset[str],
        sort: tuple[str, ...],
        *,
        after_cursor: bool,
        with_total: bool,
    ) -> Select:
        """Return the statement that selects one page of a report, and `data_as_of` in each row.

            SELECT * FROM (SELECT ... AS data_as_of) AS data_time
            LEFT JOIN (...) AS item ON true
            ORDER BY item.day DESC

        A page without items has one row, which contains only the time. Postgres determines the time
        before it reads the items, so that it is not too late.
        """
        page = super().select_page(
            filter_names, sort, after_cursor=after_cursor, with_total=with_total
        )
        data_time = _SELECT_DATA_TIME.subquery("data_time")
        item = page.subquery("item")
        statement = sa.select(*data_time.c, *item.c).select_from(
            data_time.outerjoin(item, sa.true())
        )
        sort_terms = [key.order_by_term(item) for key in self.parse_sort(sort)]
        return mark_reusable(statement.order_by(*sort_terms))


class ReportRepository(ListRepository[ItemT]):
    """Base class of repositories that read a report from the reporting database.

    A subclass sets `model` and `statements`, which are `ReportStatements`.
    """

    def __init__(self, session: Session, *, may_be_copy: bool) -> None:
        """Create a repository for one request or job.

        Args:
            session: Executes the statements.
            may_be_copy: Whether a server that is not a standby may have older data than the main
                database.
        """
        super().__init__(session)
        self.page_parameters = {"may_be_copy": may_be_copy}

    async def dated_page(self, query: PageQuery) -> DatedPage[ItemT]:
        """Read one page of the report and the time of its data, as `page` of the base class does.

        Exports the age of the data as a metric.
        """
        page, rows = await self.page_with_rows(query, extra_filters={})
        data_as_of: datetime | None = rows[0]["data_as_of"]
        if data_as_of is not None:
            age = datetime.now(UTC) - data_as_of
            # The clocks of the servers may differ.
            REPORT_DATA_AGE.labels("reporting").set(max(0.0, age.total_seconds()))
        return DatedPage(page, data_as_of)
