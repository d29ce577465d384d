"""The tables of reports."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class UserCount(Base):
    """How many users there were on a day (UTC)."""

    __tablename__ = "user_counts"

    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(sa.BigInteger)
    counted_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
