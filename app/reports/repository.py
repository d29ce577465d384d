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
_INSERT_TODAYS_USER_COUNT = (
    insert(UserCount)
    .from_select(["day", "count"], sa.select(_TODAY_IN_UTC, sa.func.count()).select_from(User))
    .on_conflict_do_nothing()
    .returning(UserCount.day, UserCount.count)
)


class UserCountStatements(ListStatements):
    """Builds the SQL statements that list the daily user counts. The latest day comes first."""

    primary_key = "day"
    default_sort = ("-day",)


class UserCountRepository(ListRepository[UserCountRead]):
    """Reads the daily user counts, and adds the count of the current day."""

    model = UserCountRead
    statements = UserCountStatements(UserCount, UserCountRead)

    async def store_todays_user_count(self) -> Row | None:
        """Count all users now, and store their number as the user count of today (in UTC).

        Returns the new row, for example `{"day": date(2026, 11, 21), "count": 57}`, or None if
        today's count has already been stored.
        """
        rows = await self.session.execute(_INSERT_TODAYS_USER_COUNT)
        if not rows:
            return None
        return rows[0]
