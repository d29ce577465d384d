"""Unsupported declarations of models raise an error at startup that says what to change."""

import enum
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.authors.models import Author
from app.books.models import Book
from app.core.db import Base, Entity, Statements
from app.core.schemas import ReadModel, UpdatedAt, Version
from app.documents.models import Document


class DeclaredEntity(Entity):
    """Base of entities that have no tables."""

    __abstract__ = True
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)


class Condition(enum.Enum):
    """The condition of a seat. The names of the members differ from their values."""

    GOOD = "good"


class Room(DeclaredEntity):
    """A room, which has a unique key of two columns besides its id."""

    __tablename__ = "declared_rooms"
    __table_args__ = (sa.UniqueConstraint("house", "number"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    house: Mapped[str]
    number: Mapped[str]
    name: Mapped[str]
    owner_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey("declared_rooms.id", ondelete="SET NULL")
    )
    seats: Mapped[list["Seat"]] = relationship(lazy="raise", foreign_keys="Seat.room_id")
    sorted_seats: Mapped[list["Seat"]] = relationship(
        lazy="raise", foreign_keys="Seat.room_id", order_by="Seat.name", viewonly=True
    )


class Seat(DeclaredEntity):
    """A seat, which refers to rooms in ways that are not supported."""

    __tablename__ = "declared_seats"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["house", "room_number"], ["declared_rooms.house", "declared_rooms.number"]
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    room__name: Mapped[str]
    condition: Mapped[Condition]
    picture: Mapped[bytes]
    room_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Room.id))
    house: Mapped[str]
    room_number: Mapped[str]
    spare_room_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey(Room.id, ondelete="SET DEFAULT")
    )
    room: Mapped[Room] = relationship(lazy="raise", foreign_keys="Seat.room_id", viewonly=True)
    numbered_room: Mapped[Room] = relationship(
        lazy="raise", foreign_keys="[Seat.house, Seat.room_number]", viewonly=True
    )
    open_room: Mapped[Room] = relationship(
        lazy="raise",
        primaryjoin="and_(Seat.room_id == Room.id, Room.name != 'closed')",
        viewonly=True,
    )
    spare_room: Mapped[Room | None] = relationship(lazy="raise", foreign_keys="Seat.spare_room_id")


class Part(BaseModel):
    """An embedded row with a name."""

    name: str


class StoredFile(BaseModel):
    """The key of a stored file."""

    key: str


class OwnedPart(BaseModel):
    """An embedded row with an owner. Deleting the owner does not change the version of the row."""

    owner_id: UUID | None


class AliasedPart(BaseModel):
    """A model that can be created only from the alias of its field."""

    name: str = Field(alias="fullName")


class NamedPart(BaseModel):
    """A model that can be created from the name and from the alias of its field."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    name: str = Field(alias="fullName")


class Picture(BaseModel):
    """An embedded row with bytes."""

    picture: bytes


class ConditionPart(BaseModel):
    """An embedded row with an Enum."""

    condition: Condition


def build_read_model(**annotations: Any) -> type[ReadModel]:
    """Create a read model `ThingRead` with `id`, `updated_at`, `version` and these fields."""
    fields = {"id": UUID, **annotations, "updated_at": UpdatedAt, "version": Version}
    namespace = {"__annotations__": fields, "__module__": __name__}
    return type("ThingRead", (ReadModel,), namespace)


class ThingStatements(Statements):
    """Statements of a read model without `created_at`."""

    default_sort = ("id",)


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (Seat, {"numbered_room": Part}, "embeds a row to which a foreign key of several columns"),
        (Seat, {"open_room": Part}, "a relationship with a condition that is not a foreign key"),
        (Room, {"sorted_seats": list[Part]}, "Remove `order_by` from the relationship sorted_s"),
        (
            Room,
            {"owner_id": UUID | None},
            "ON DELETE SET NULL can change declared_rooms.owner_id without",
        ),
        (
            Seat,
            {"room": OwnedPart},
            "ON DELETE SET NULL can change its field owner_id without incr",
        ),
        (Seat, {"spare_room": Part | None}, "SET DEFAULT is never supported"),
        (Seat, {"room": Part, "room__name": str}, "two columns with the name room__name"),
        (Seat, {"room": AliasedPart}, "AliasedPart.name has an alias, but database rows have"),
        (Room, {"seats": list[Picture]}, "whose field picture has the type LargeBinary"),
        (Room, {"seats": list[ConditionPart]}, "whose field condition has the type Enum"),
        (Book, {"sequel": Part}, "ThingRead.sequel embeds a model, but Book has no relation"),
        (Book, {"author": StoredFile}, "StoredFile, whose field key is not a column of authors"),
        (
            Book,
            {"author": list[Part]},
            "ThingRead.author must be one model, because Book.author is one row",
        ),
        (Book, {"pages": int}, "ThingRead.pages is not a column of books. Add the column to Book"),
        (Author, {"books": list[Part]}, "but Author has no relationship of this name"),
        (Document, {"owner": Part}, "but Document has no relationship of this name"),
    ],
)
def test_statements_raise_type_error_when_declaration_is_unsupported(
    model: Any, fields: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message.replace(".", r"\.")):
        ThingStatements(model, build_read_model(**fields))


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Seat, {"room": Part, "name": str}),
        (Seat, {"room": NamedPart, "condition": Condition, "picture": bytes}),
        (Room, {"seats": list[Part] | None}),
    ],
)
def test_statements_accept_supported_declaration(model: Any, fields: Mapping[str, Any]) -> None:
    ThingStatements(model, build_read_model(**fields))
