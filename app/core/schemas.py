"""The bases of request and response models, and field types that take only canonical forms.

Pydantic converts generously: a number to a date, `1_0` to ten. Here a value that would be
converted silently is refused, whether it comes in JSON or as text of a path or query.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import CoreSchema, core_schema

MAX_INT64: Final = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Canonical:
    """Takes only a string that matches `pattern` whole, then validates it as `target`."""

    pattern: str
    target: CoreSchema
    schema: dict[str, Any]  # what the OpenAPI document says of it

    def __get_pydantic_core_schema__(self, *_: Any) -> CoreSchema:
        text = core_schema.str_schema(strict=True, pattern=f"^(?:{self.pattern})$")
        return core_schema.chain_schema([text, self.target])

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return dict(self.schema)


def integer(minimum: int, maximum: int) -> Canonical:
    """An integer of a path or query, in decimal digits without padding or separators."""
    target = core_schema.int_schema(ge=minimum, le=maximum)
    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return Canonical("0|-?[1-9][0-9]{0,18}", target, schema)


NO_NUL: Final = r"^[^\x00]*$"


def string(shortest: int, longest: int) -> StringConstraints:
    """A string of so many characters, without NUL, which Postgres cannot store."""
    return StringConstraints(strict=True, min_length=shortest, max_length=longest, pattern=NO_NUL)


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("Must lie within the years 1 to 9999 in UTC") from None


_UUID: Final = "[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
# asyncpg takes the first and the last date for the infinities.
_FINITE: Final = core_schema.date_schema(gt=date.min, lt=date.max)
_AWARE: Final = core_schema.datetime_schema(tz_constraint="aware")

Id = Annotated[
    UUID, Canonical(_UUID, core_schema.uuid_schema(), {"type": "string", "format": "uuid"})
]
Date = Annotated[date, Canonical(_DATE, _FINITE, {"type": "string", "format": "date"})]
Instant = Annotated[
    datetime,
    Canonical(f"{_DATE}T{_TIME}", _AWARE, {"type": "string", "format": "date-time"}),
    AfterValidator(_to_utc),
]


class RequestModel(BaseModel):
    """Base of what clients send: a field that we do not know is an error, not noise."""

    model_config = ConfigDict(extra="forbid")


def absent(description: str | None = None) -> Any:
    """Default of a field in an update model: it may be left out, which is not the same as null."""
    return Field(default=None, description=description, json_schema_extra=without_default)


def without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class ReadModel(BaseModel):
    """Base of what we answer: every field is always there; `version` only feeds the ETag."""

    model_config = ConfigDict(from_attributes=True)

    version: int = Field(exclude=True)
