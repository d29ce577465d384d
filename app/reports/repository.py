"""The SQL of reports."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db import ListRepository, ListStatements, Row
from app.reports.models import UserCount
from app.reports.schemas import UserCountRead
from app.users.models import User

_TODAY = sa.cast(sa.func.timezone("UTC", sa.func.now()), sa.Date)
_COUNT = sa.select(_TODAY, sa.func.count()).select_from(User)


class UserCountStatements(ListStatements):
    """A day has one count; the newest comes first."""

    primary_key = "day"
    default_sort = ("-day",)


class UserCountRepository(ListRepository[UserCountRead]):
    """Reads the counts of users, and counts them."""

    model = UserCountRead
    statements = UserCountStatements(UserCount, UserCountRead)
    _count = (
        insert(UserCount)
        .from_select(["day", "count"], _COUNT)
        .on_conflict_do_nothing()
        .returning(UserCount.day, UserCount.count)
    )

    async def count(self) -> Row | None:
        """Count today's users, once: `None` when that is done."""
        rows = await self.session.execute(self._count)
        return rows[0] if rows else None
