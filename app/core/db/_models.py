"""Base classes of mapped classes: naming convention of constraints, audit columns, version."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base class of all mapped classes. `Base.metadata` contains every table of the service.

    The naming convention gives each constraint a predictable name, for example
    `uq_publishers_name`. When Postgres reports that a constraint is violated, repositories look up
    the error to raise by this name.

    Columns of the type `datetime` store a time zone.
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
    """Base class of mapped classes whose rows are API resources with an ETag.

    It adds the columns `created_at`, `updated_at` and `version`. Every UPDATE by a `Repository`
    sets `updated_at` and increments `version`, which becomes a part of the ETag.
    """

    __abstract__ = True

    # `sort_order` puts these columns after those of the subclass.
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), sort_order=91)
    version: Mapped[int] = mapped_column(server_default=sa.text("1"), sort_order=92)


def get_table(model: type[Base]) -> sa.Table:
    """Return the table of a mapped class."""
    table = model.__table__
    # SQLAlchemy could also map a class to a join, which the statements do not support.
    assert isinstance(table, sa.Table)  # noqa: S101
    return table
