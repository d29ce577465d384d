"""The types of the query parameters that restrict a list to a period."""

from typing import Annotated

from pydantic import Field

from app.core.instants import Instant

CreatedFrom = Annotated[
    Instant | None,
    Field(
        description=(
            "Only items whose `created_at` is this time or later. `created_at` is the start of the"
            " transaction that created the item, and the item becomes visible at its end. Clients"
            " that poll for new items therefore need an overlap."
        )
    ),
]
CreatedTo = Annotated[
    Instant | None, Field(description="Only items whose `created_at` is before this time")
]
UpdatedFrom = Annotated[
    Instant | None,
    Field(
        description=(
            "Only items whose `updated_at` is this time or later. `updated_at` is the start of the"
            " transaction that last changed the item, and the change becomes visible at its end."
            " Clients that poll for changes therefore need an overlap. `updated_at` covers the item"
            " itself, but neither embedded resources nor deletions."
        )
    ),
]
UpdatedTo = Annotated[
    Instant | None, Field(description="Only items whose `updated_at` is before this time")
]
