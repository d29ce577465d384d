"""Operations on reports."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic

from app.core.db import Session
from app.core.observability import REPORT_DATA_AGE
from app.core.paging import ItemT, Page
from app.reports.data_time_repository import DataTimeRepository
from app.reports.repository import UserCountRepository
from app.reports.schemas import UserCountQuery, UserCountRead


@dataclass(frozen=True)
class DatedPage(Generic[ItemT]):
    """One page of a report. Every change that was committed before `data_as_of` is in it.

    `data_as_of` is None if the time is unknown.
    """

    page: Page[ItemT]
    data_as_of: datetime | None


class ReportService:
    """Lists the daily user counts for the HTTP endpoints, and stores them for a scheduled job.

    The endpoints use a session of the reporting database, which may be a read-only standby. The job
    uses a session of the main database.
    """

    def __init__(self, session: Session, *, may_be_copy: bool = False) -> None:
        """Create the service for one request or job.

        Args:
            session: Executes the statements.
            may_be_copy: Whether the session reads from a database that may be a copy of the main
                one, and so may have older data.
        """
        self._session = session
        self._may_be_copy = may_be_copy

    async def page_user_counts(self, query: UserCountQuery) -> DatedPage[UserCountRead]:
        """Return one page of the daily user counts, and the time of its data.

        One transaction reads both, so that they come from the same server. The time is read first.
        In the statement of the page, it could be later than the data, because Postgres chooses the
        changes that a statement sees before it calls a function.
        """

        async def read(transaction: Session) -> DatedPage[UserCountRead]:
            data_times = DataTimeRepository(transaction)
            data_as_of = await data_times.find_data_time(may_be_copy=self._may_be_copy)
            return DatedPage(await UserCountRepository(transaction).page(query), data_as_of)

        dated_page = await self._session.run_in_transaction(read)
        _export_data_age(dated_page.data_as_of)
        return dated_page

    async def store_todays_user_count(self) -> str:
        """Count all users and store their number, unless this has already been done today (in UTC).

        Returns a summary for the log, for example "counted 57 users on 2026-11-21".
        """
        stored_count = await UserCountRepository(self._session).store_todays_user_count()
        if stored_count is None:
            return "today's users have already been counted"
        return f"counted {stored_count['count']} users on {stored_count['day']}"


def _export_data_age(data_as_of: datetime | None) -> None:
    """Set the metric of the age of the data in the last report, if the time is known."""
    if data_as_of is not None:
        age = datetime.now(UTC) - data_as_of
        # The clocks of the servers may differ.
        REPORT_DATA_AGE.labels("reporting").set(max(0.0, age.total_seconds()))
