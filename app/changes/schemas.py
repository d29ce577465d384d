"""Request and response models of the change feed."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from app.core.schemas import RequestModel, integer_between, remove_default, string_of_length

# Stands for the current end of the feed.
NOW: Final = "now"


class ChangeQuery(RequestModel):
    """Query parameters of the change feed."""

    after: Annotated[str, string_of_length(1, 500)] | None = Field(
        None,
        description=(
            "The `next` of the previous response, or `now` for the current end of the feed."
            " Default: the oldest change that is kept."
        ),
    )
    wait: Annotated[int, integer_between(0, 30)] = Field(
        0,
        description=(
            "How many seconds to wait for a change if there is none. The response may come earlier"
            " without a change."
        ),
        json_schema_extra=remove_default,
    )
    size: Annotated[int, integer_between(1, 1000)] = Field(
        100,
        description="Maximum number of changes per response (default: 100)",
        json_schema_extra=remove_default,
    )


class ChangeRead(BaseModel):
    """A change of a resource. The resource itself is at `/{entity}/{id}`, unless it was deleted."""

    entity: str = Field(
        max_length=63,
        description=(
            "The collection of the resource: `authors`, `books`, `documents` or `users`. Later"
            " releases may have further ones."
        ),
        examples=["books"],
    )
    id: str = Field(
        max_length=36,
        description="The id of the resource, as text",
        examples=["0197c2a4-8f6e-7b1d-9c3a-2e5f7a9b1c3d"],
    )
    version: int = Field(
        ge=1,
        le=2**31 - 1,
        description=(
            "The version of the resource itself after the change, which is the number before the"
            " point in the `version` of a book. The later of two changes of a resource has the"
            " higher one. A deletion has a version, too."
        ),
        examples=[4],
    )
    kind: Literal["created", "updated", "deleted"] = Field(
        description="What happened to the resource"
    )
    time: datetime = Field(description="Start of the transaction that made the change")


class ChangePage(BaseModel):
    """Changes, the oldest first, and the cursor with which to continue."""

    items: list[ChangeRead] = Field(max_length=1000)
    next: str = Field(
        max_length=500,
        description="The cursor for `after` of the next request, also if there are no items",
        examples=["7SNsLKeis9TD"],
    )
