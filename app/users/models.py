"""The users table."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models import Entity


class User(Entity):
    """A person with an account."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        sa.Index("uq_users_email", sa.text("lower(email)"), unique=True),
        sa.Index(None, "name", "id"),
        sa.Index(None, "email", "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "search", postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    email: Mapped[str] = mapped_column(sa.String(254))
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    search: Mapped[str] = mapped_column(TSVECTOR, sa.Computed("search_vector(name)"))
