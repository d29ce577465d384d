"""Operations on reports."""

from app.core.db import Session
from app.core.paging import Page
from app.reports.repository import UserCountRepository
from app.reports.schemas import UserCountQuery, UserCountRead


class ReportService:
    """Operations on reports, used by the HTTP endpoints and by a scheduled job.

    Reading works with a session of the reporting database, which may be a read-only standby.
    Storing a user count requires a session of the main database.
    """

    def __init__(self, session: Session) -> None:
        self._user_counts = UserCountRepository(session)

    async def page_user_counts(self, query: UserCountQuery) -> Page[UserCountRead]:
        """Return one page of the daily user counts."""
        return await self._user_counts.page(query)

    async def store_todays_user_count(self) -> str:
        """Count all users and store their number, unless this has already been done today (in UTC).

        Returns a summary for the log, for example "counted 57 users on 2026-11-21".
        """
        stored_count = await self._user_counts.store_todays_user_count()
        if stored_count is None:
            return "today's users have already been counted"
        return f"counted {stored_count['count']} users on {stored_count['day']}"
