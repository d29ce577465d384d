"""Declarations that cannot be supported stop the application at startup, with a sentence."""

import enum
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.db import Base, Entity, Statements
from app.core.schemas import ReadModel, UpdatedAt, Version


class DeclaredEntity(Entity):
    """Base of entities that have no tables."""

    __abstract__ = True
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)


class Condition(enum.Enum):
    """The condition of a seat, whose members have other names than values."""

    GOOD = "good"


class Room(DeclaredEntity):
    """A room, with a key of two columns beside its id."""

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
    """A row that has a name."""

    name: str


class OwnedPart(BaseModel):
    """A row with an owner, whose deletion does not change the row's version."""

    owner_id: UUID | None


class AliasedPart(BaseModel):
    """A row whose field has another name in JSON, and can only be created by that."""

    name: str = Field(alias="fullName")


class NamedPart(BaseModel):
    """A row whose field has another name in JSON, and can be created by both."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)
    name: str = Field(alias="fullName")


class Picture(BaseModel):
    """A row with bytes."""

    picture: bytes


class ConditionPart(BaseModel):
    """A row with an Enum."""

    condition: Condition


def read_model(**annotations: Any) -> type[ReadModel]:
    fields = {"id": UUID, **annotations, "updated_at": UpdatedAt, "version": Version}
    namespace = {"__annotations__": fields, "__module__": __name__}
    return type("ThingRead", (ReadModel,), namespace)


class ThingStatements(Statements):
    """Statements of a read model without `created_at`."""

    default_sort = ("id",)


@pytest.mark.parametrize(
    ("model", "fields", "sentence"),
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
    ],
)
def test_unsupported_declaration_is_refused_with_a_sentence(
    model: Any, fields: Mapping[str, Any], sentence: str
) -> None:
    with pytest.raises(TypeError, match=sentence.replace(".", r"\.")):
        ThingStatements(model, read_model(**fields))


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Seat, {"room": Part, "name": str}),
        (Seat, {"room": NamedPart, "condition": Condition, "picture": bytes}),
        (Room, {"seats": list[Part] | None}),
    ],
)
def test_supported_declaration_is_accepted(model: Any, fields: Mapping[str, Any]) -> None:
    ThingStatements(model, read_model(**fields))
