"""Base classes of mapped classes: naming convention of constraints, audit columns, version."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column


class Base(DeclarativeBase):
    """Base of all mapped classes. Its `metadata` contains every table of the service.

    The naming convention gives every constraint a name that is known in advance, for example
    `uq_publishers_name`. When Postgres reports a violation, the name determines the error to raise.
    Times are stored with a time zone.
    """

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: sa.DateTime(timezone=True)}


class Entity(Base):
    """Base of mapped classes whose rows are resources: adds `created_at`, `updated_at`, `version`.

    Every UPDATE by a `Repository` sets `updated_at` and increments `version`, from which the ETag
    is made.
    """

    __abstract__ = True

    # `sort_order` puts these columns after those of the subclass.
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), sort_order=91)
    version: Mapped[int] = mapped_column(server_default=sa.text("1"), sort_order=92)


def search_column(text_column: str) -> MappedColumn[str]:
    """Declare a column that contains the words of a text column, for full-text search.

    `search_column("name")` generates this column:

        search TSVECTOR GENERATED ALWAYS AS (search_vector(name)) STORED

    The query parameter `q` of lists searches it, so it needs a GIN index. The first migration
    creates the function `search_vector`.
    """
    words = sa.Computed(f"search_vector({text_column})", persisted=True)
    return mapped_column(TSVECTOR, words)
