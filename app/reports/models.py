"""The table `user_counts`."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class UserCount(Base):
    """The number of users on one day. The scheduled job `count-users` adds a row every day.

    `day` is a date in UTC. `counted_at` is the time at which the users were counted.
    """

    __tablename__ = "user_counts"

    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(sa.BigInteger)
    counted_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
