"""The table `authors`."""

from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Entity, search_terms, text_sort_key

# Sorts an unknown date of birth as this date, so that it comes after all other dates.
UNKNOWN_DOB_SORT_VALUE = sa.literal_column("'infinity'::date", sa.Date)


class Author(Entity):
    """A person who writes books.

    Rules that the database enforces:

    - `ck_authors_name_not_empty`: the name has at least one character.
    - `ck_authors_dob_finite`: the date of birth is not 'infinity'. Postgres allows this value, but
      lists that are sorted by date of birth use it in place of an unknown date.
    - `fk_books_author_id_authors`: an author who has books cannot be deleted.

    Lists sort and search the name without case and accents (`app/core/db/_folded_text.py`).
    """

    __tablename__ = "authors"
    __table_args__ = (
        sa.CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        sa.CheckConstraint("isfinite(dob)", name="dob_finite"),
        sa.Index("ix_authors_name_sort_key_id", text_sort_key("name"), "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index("ix_authors_dob_id", sa.text("coalesce(dob, 'infinity'::date)"), "id"),
        sa.Index("ix_authors_name_terms", search_terms("name"), postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    # The date of birth, or NULL if it is unknown.
    dob: Mapped[date | None]
