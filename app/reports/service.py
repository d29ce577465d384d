"""Operations on reports."""

from app.core.db import Session
from app.core.paging import Page
from app.reports.data_time import DatedPage, read_dated_page
from app.reports.repository import UserCountRepository
from app.reports.schemas import UserCountQuery, UserCountRead


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
        """Return one page of the daily user counts, and the time of its data."""

        async def read_page(session: Session) -> Page[UserCountRead]:
            return await UserCountRepository(session).page(query)

        return await read_dated_page(self._session, read_page, may_be_copy=self._may_be_copy)

    async def store_todays_user_count(self) -> str:
        """Count all users and store their number, unless this has already been done today (in UTC).

        Returns a summary for the log, for example "counted 57 users on 2026-11-21".
        """
        stored_count = await UserCountRepository(self._session).store_todays_user_count()
        if stored_count is None:
            return "today's users have already been counted"
        return f"counted {stored_count['count']} users on {stored_count['day']}"
