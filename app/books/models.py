"""The table `books`."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.authors.models import Author
from app.core.db import Entity, search_terms, text_sort_key


class Book(Entity):
    """A book, written by one author.

    Rules that the database enforces:

    - `ck_books_title_not_empty`: the title has at least one character.
    - `fk_books_author_id_authors`: the author exists. An author who has books cannot be deleted.

    Lists sort and search the title without case and accents (`app/core/db/_folded_text.py`).

    Clients can list all books or the books of one author, sorted by title or by time. There is an
    index for each of these lists.
    """

    __tablename__ = "books"
    __table_args__ = (
        sa.CheckConstraint("char_length(title) >= 1", name="title_not_empty"),
        sa.Index("ix_books_title_sort_key_id", text_sort_key("title"), "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "updated_at", "id"),
        sa.Index("ix_books_author_id_title_sort_key_id", "author_id", text_sort_key("title"), "id"),
        sa.Index(None, "author_id", "created_at", "id"),
        sa.Index(None, "author_id", "updated_at", "id"),
        sa.Index("ix_books_title_terms", search_terms("title"), postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(300))
    author_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Author.id))
    # Raises an error if a query has not loaded the author.
    author: Mapped[Author] = relationship(lazy="raise")
