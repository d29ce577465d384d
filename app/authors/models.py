"""The authors table."""

from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Entity

# An unknown date of birth sorts after all others.
UNKNOWN_DOB = sa.literal_column("'infinity'::date", sa.Date)


class Author(Entity):
    """A person who writes books.

    Rules in the database:

    - `ck_authors_name_not_empty`: the name has at least one character.
    - `ck_authors_dob_finite`: the date of birth is a real date, never `infinity`, which stands
      for an unknown date in sort orders.
    - `search` is generated: the words of the name, which `search_vector` makes (see
      `search_words` in the first migration).
    - Trigger `change_books`: a new name or date of birth increments the version of the author's
      books, because their responses, and so their ETags, contain both.
    - `fk_books_author_id_authors`: an author who has books cannot be deleted.
    """

    __tablename__ = "authors"
    __table_args__ = (
        sa.CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        sa.CheckConstraint("isfinite(dob)", name="dob_finite"),
        sa.Index(None, "name", "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index("ix_authors_dob_id", sa.text("coalesce(dob, 'infinity'::date)"), "id"),
        sa.Index(None, "search", postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    dob: Mapped[date | None]
    search: Mapped[str] = mapped_column(
        TSVECTOR, sa.Computed("search_vector(name)", persisted=True)
    )
