"""The users table."""

from sqlalchemy import BigInteger, CheckConstraint, Computed, Identity, Index, String, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models import Entity


class User(Entity):
    """A person with an account."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(254))
    password_hash: Mapped[str] = mapped_column(String(255))
    search: Mapped[str] = mapped_column(TSVECTOR, Computed("search_vector(name)", persisted=True))

    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        Index("uq_users_email", text("lower(email)"), unique=True),
        Index(None, "name", "id"),
        Index(None, "email", "id"),
        Index(None, "created_at", "id"),
        Index(None, "search", postgresql_using="gin"),
    )
