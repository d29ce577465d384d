"""Base classes of the mapped classes: naming convention, audit columns and the version."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column


class Base(DeclarativeBase):
    """The registry of all tables. Errors are chosen by the names of constraints."""

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
    """A table with audit columns, and a version that each change increments: the ETag."""

    __abstract__ = True

    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), sort_order=91)
    version: Mapped[int] = mapped_column(server_default=sa.text("1"), sort_order=92)


def search_column(column: str) -> MappedColumn[str]:
    """Return a generated column with the words of a text column, for the filter `q`.

        search TSVECTOR GENERATED ALWAYS AS (search_vector(name)) STORED

    The first migration creates the function `search_vector`. The column needs a GIN index.
    """
    return mapped_column(TSVECTOR, sa.Computed(f"search_vector({column})", persisted=True))
