"""What every mapped class shares: the naming convention, keys, audit columns and the version."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, MetaData, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

__all__ = ["Base", "Entity", "new_id"]

# Constraint names are the database's half of the error vocabulary, so they must be predictable.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The registry of all tables."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: DateTime(timezone=True)}


class Entity(Base):
    """Audit columns, and the version that every change raises by one and the ETag shows."""

    __abstract__ = True

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=91)
    version: Mapped[int] = mapped_column(server_default=text("1"), sort_order=92)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): made here, without a round trip, and inserted in index order."""
    return uuid7()
