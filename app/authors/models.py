"""The authors table."""

from datetime import date
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, String, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models import Entity

# An unknown date of birth sorts after all known ones.
UNKNOWN_DOB = date.max  # which asyncpg writes as 'infinity'


class Author(Entity):
    """A person who writes books."""

    __tablename__ = "authors"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    dob: Mapped[date | None]
    search: Mapped[str] = mapped_column(TSVECTOR, Computed("search_vector(name)", persisted=True))

    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        CheckConstraint("isfinite(dob)", name="dob_finite"),
        Index(None, "name", "id"),
        Index(None, "created_at", "id"),
        Index("ix_authors_dob_id", text("coalesce(dob, 'infinity'::date)"), "id"),
        Index(None, "search", postgresql_using="gin"),
    )
