"""The rules of reports."""

from app.core.db import Session
from app.core.paging import Page
from app.reports.repository import UserCountRepository
from app.reports.schemas import UserCountQuery, UserCountRead


class ReportService:
    """Reports, from any database that has them."""

    def __init__(self, session: Session) -> None:
        self._counts = UserCountRepository(session)

    async def user_counts(self, query: UserCountQuery) -> Page[UserCountRead]:
        return await self._counts.page(query)

    async def count_users(self) -> str:
        """Count today's users, once a day; what was done."""
        counted = await self._counts.count()
        if counted is None:
            return "counted today already"
        return f"{counted['count']} users on {counted['day']}"
