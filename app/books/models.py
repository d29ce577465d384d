"""The books table."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.authors.models import Author
from app.core.db import Entity


class Book(Entity):
    """A book by one author.

    Rules in the database:

    - `ck_books_title_not_empty`: the title has at least one character.
    - `fk_books_author_id_authors`: the author exists, and cannot be deleted before the book.
    - `search` is generated: the words of the title, which `search_vector` makes.
    - Trigger `change_books` of authors increments `version` when the author's name or date of
      birth changes.
    """

    __tablename__ = "books"
    __table_args__ = (
        sa.CheckConstraint("char_length(title) >= 1", name="title_not_empty"),
        sa.Index(None, "title", "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "updated_at", "id"),
        sa.Index(None, "author_id", "title", "id"),
        sa.Index(None, "author_id", "created_at", "id"),
        sa.Index(None, "author_id", "updated_at", "id"),
        sa.Index(None, "search", postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(300))
    author_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Author.id))
    search: Mapped[str] = mapped_column(
        TSVECTOR, sa.Computed("search_vector(title)", persisted=True)
    )
