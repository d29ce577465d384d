"""Request and response models of authors."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from app.core.paging import AnyOf, ListQuery, SortKeys
from app.core.schemas import (
    Date,
    Flag,
    Id,
    ReadModel,
    RequestModel,
    UpdatedAt,
    UpdateModel,
    Version,
    name_of_length,
)

AuthorId = Annotated[Id, Field(description="Id of the author")]
AuthorName = Annotated[str, name_of_length(1, 200), Field(examples=["Gabriel García Márquez"])]
AuthorSortKey = Literal["name", "-name", "dob", "-dob", "created_at", "-created_at"]


class AuthorCreate(RequestModel):
    """A new author."""

    name: AuthorName
    dob: Date | None = Field(
        default=None, description="Date of birth; null if unknown", examples=["1927-03-06"]
    )


class AuthorUpdate(UpdateModel, AuthorCreate):
    """Changes to an author. An absent field keeps its value. The value null clears `dob`."""


class AuthorRead(ReadModel):
    """An author."""

    id: UUID
    name: str = Field(max_length=200, examples=["Gabriel García Márquez"])
    dob: date | None = Field(description="Date of birth; null if unknown", examples=["1927-03-06"])
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class AuthorQuery(ListQuery):
    """Query parameters of the list of authors."""

    id: AnyOf[Id] = ()
    dob_from: Date | None = Field(None, description="Only authors born on this day or later")
    dob_to: Date | None = Field(None, description="Only authors born before this day")
    dob_is_null: Flag | None = Field(
        None, description="Only authors whose date of birth is unknown (true) or known (false)"
    )
    sort: SortKeys[AuthorSortKey] = ()
