"""Operations on reports."""

from app.core.db import Session
from app.core.paging import Page
from app.reports.repository import UserCountRepository
from app.reports.schemas import UserCountQuery, UserCountRead


class ReportService:
    """Operations on reports, used by the HTTP endpoints and by a scheduled job.

    The session may be one of the reporting database for reading. Counting needs the main database.
    """

    def __init__(self, session: Session) -> None:
        self._counts = UserCountRepository(session)

    async def page_user_counts(self, query: UserCountQuery) -> Page[UserCountRead]:
        """Read one page of the daily user counts."""
        return await self._counts.page(query)

    async def count_users(self) -> str:
        """Store the number of users, unless this has been done today (in UTC).

        Returns a summary for the log, for example "counted 57 users on 2026-11-21".
        """
        user_count = await self._counts.count_todays_users()
        if user_count is None:
            return "today's users have already been counted"
        return f"counted {user_count['count']} users on {user_count['day']}"
