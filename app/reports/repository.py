"""The SQL of reports."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db import ListRepository, ListStatements, Row
from app.reports.models import UserCount
from app.reports.schemas import UserCountRead
from app.users.models import User

_TODAY_IN_UTC = sa.cast(sa.func.timezone("UTC", sa.func.now()), sa.Date)
# INSERT INTO user_counts (day, count) SELECT timezone('UTC', now())::date, count(*) FROM users
# ON CONFLICT DO NOTHING RETURNING day, count
_COUNT_TODAYS_USERS = (
    insert(UserCount)
    .from_select(["day", "count"], sa.select(_TODAY_IN_UTC, sa.func.count()).select_from(User))
    .on_conflict_do_nothing()
    .returning(UserCount.day, UserCount.count)
)


class UserCountStatements(ListStatements):
    """The statements that list the daily user counts, by default the latest day first."""

    primary_key = "day"
    default_sort = ("-day",)


class UserCountRepository(ListRepository[UserCountRead]):
    """Reads the daily user counts, and adds the count of the current day."""

    model = UserCountRead
    statements = UserCountStatements(UserCount, UserCountRead)

    async def count_todays_users(self) -> Row | None:
        """Store the current number of users as the count of today (UTC).

        Returns the new row, for example `{"day": date(2026, 11, 21), "count": 57}`, or None if
        today's users have already been counted.
        """
        rows = await self.session.execute(_COUNT_TODAYS_USERS)
        if not rows:
            return None
        return rows[0]
