"""The books table."""

from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, String
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.authors.models import Author
from app.core.models import Entity


class Book(Entity):
    """A book by one author."""

    __tablename__ = "books"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(300))
    author_id: Mapped[UUID] = mapped_column(ForeignKey(Author.id))
    search: Mapped[str] = mapped_column(TSVECTOR, Computed("search_vector(title)", persisted=True))

    __table_args__ = (
        CheckConstraint("char_length(title) >= 1", name="title_not_empty"),
        Index(None, "title", "id"),
        Index(None, "created_at", "id"),
        Index(None, "updated_at", "id"),
        Index(None, "author_id", "created_at", "id"),
        Index(None, "search", postgresql_using="gin"),
    )
