"""Tables of an example library: editions with an optional publisher, tags, fines and loan requests.

They test relationships that the entities of the service do not have. A test creates the tables in a
private database.
"""

import enum
from decimal import Decimal
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.db import Base, Database, Entity


class LibraryEntity(Entity):
    """Base of the example entities. Their metadata is not that of the service."""

    __abstract__ = True
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)


edition_tags: Final = sa.Table(
    "library_edition_tags",
    LibraryEntity.metadata,
    sa.Column(
        "edition_id", sa.ForeignKey("library_editions.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("tag_id", sa.ForeignKey("library_tags.id"), primary_key=True, index=True),
)


class Publisher(LibraryEntity):
    """A publisher, whose name is unique in its country."""

    __tablename__ = "library_publishers"
    __table_args__ = (sa.UniqueConstraint("country", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    country: Mapped[str]


class Tag(LibraryEntity):
    """A tag of editions."""

    __tablename__ = "library_tags"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class FineState(enum.Enum):
    """The state of a fine."""

    UNPAID = "unpaid"


def _enum_values(states: type[enum.Enum]) -> list[str]:
    """Return the values of an enumeration, which are stored instead of the names."""
    return [state.value for state in states]


class Fine(LibraryEntity):
    """An amount that a reader has to pay for an edition."""

    __tablename__ = "library_fines"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    edition_id: Mapped[UUID] = mapped_column(sa.ForeignKey("library_editions.id"), index=True)
    amount: Mapped[Decimal] = mapped_column(sa.Numeric(40, 12))
    state: Mapped[FineState] = mapped_column(
        sa.Enum(FineState, native_enum=False, values_callable=_enum_values)
    )


class Edition(LibraryEntity):
    """An edition, whose publisher may be unknown."""

    __tablename__ = "library_editions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str]
    publisher_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey(Publisher.id, ondelete="SET NULL")
    )
    publisher: Mapped[Publisher | None] = relationship(lazy="raise")
    tags: Mapped[list[Tag]] = relationship(secondary=edition_tags, lazy="raise")
    fines: Mapped[list[Fine]] = relationship(lazy="raise")


class LoanRequest(LibraryEntity):
    """A request that may replace another one, with constraints of many kinds and long names."""

    __tablename__ = "library_interlibrary_loan_requests"
    __table_args__ = (
        sa.Index(None, "reader", unique=True, postgresql_where=sa.text("is_open")),
        sa.Index("uq_library_shelf", "is_open", sa.text("lower(shelf)"), unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reader: Mapped[str]
    is_open: Mapped[bool]
    shelf: Mapped[str | None]
    reference_of_requesting_library: Mapped[str | None] = mapped_column(unique=True)
    replaced_request_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey("library_interlibrary_loan_requests.id")
    )
    replaced_request: Mapped["LoanRequest | None"] = relationship(
        remote_side="LoanRequest.id", lazy="raise"
    )


async def create_library(database: Database) -> None:
    """Create the tables in the database of a test that is marked `private_database`."""
    async with database.engine.begin() as connection:
        await connection.run_sync(LibraryEntity.metadata.create_all)
