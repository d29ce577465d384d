"""Base classes of request and response models, and strict types for their fields.

Pydantic converts values generously: the number 0 to a date, or the text `1_0` to ten. The types of
this module refuse values that would be converted silently, in JSON as well as in paths and queries.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import core_schema

from app.core.field_errors import DATE_MESSAGE, DATE_TIME_MESSAGE, UUID_MESSAGE
from app.core.patterns import CanonicalText, Pattern

# The largest number in a column of the type bigint.
MAX_INT64: Final = 2**63 - 1
# Text without the character NUL, which Postgres cannot store.
NO_NUL_PATTERN: Final = r"^[^\x00]*$"


def integer_between(minimum: int, maximum: int) -> CanonicalText:
    """Return the metadata of an integer in a path or query, for example `integer_between(1, 100)`.

    The text has only decimal digits, without leading zeros or separators. Both limits are allowed.
    """
    value_schema = core_schema.int_schema(ge=minimum, le=maximum)
    json_schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    message = "Must be an integer such as 12, without leading zeros"
    return CanonicalText("0|-?[1-9][0-9]{0,18}", message, value_schema, json_schema)


@dataclass(frozen=True)
class _StorableString(GroupedMetadata):
    """Metadata of a string that Postgres can store: limits of its length, and no NUL character."""

    min_length: int
    max_length: int

    def __iter__(self) -> Iterator[Any]:
        yield StringConstraints(strict=True, min_length=self.min_length, max_length=self.max_length)
        yield Pattern(NO_NUL_PATTERN, "Must not contain NUL characters")


def string_of_length(min_length: int, max_length: int) -> GroupedMetadata:
    """Return the metadata of a string with a number of characters, for example from 1 to 100.

    A number or another type is not converted, and NUL, which Postgres cannot store, is refused.
    """
    return _StorableString(min_length, max_length)


def _to_utc(time: datetime) -> datetime:
    """Convert a time to UTC. Raises `ValueError` if Python cannot represent it in UTC."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("Must be between the years 1 and 9999 in UTC") from None


_UUID: Final = "[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
_uuid_schema: Final = core_schema.uuid_schema()
# asyncpg stores Python's first and last date as the infinities of Postgres, so they are refused.
_date_schema: Final = core_schema.date_schema(gt=date.min, lt=date.max)
_datetime_schema: Final = core_schema.datetime_schema(tz_constraint="aware")

# A UUID, for example `0197c2a4-8f6e-7b1d-9c3a-2e5f7a9b1c3d`.
Id = Annotated[
    UUID, CanonicalText(_UUID, UUID_MESSAGE, _uuid_schema, {"type": "string", "format": "uuid"})
]
# A date, for example `1929-10-21`.
Date = Annotated[
    date, CanonicalText(_DATE, DATE_MESSAGE, _date_schema, {"type": "string", "format": "date"})
]
# A time with a UTC offset, for example `2026-05-04T12:00:00Z`.
Instant = Annotated[
    datetime,
    CanonicalText(
        f"{_DATE}T{_TIME}",
        DATE_TIME_MESSAGE,
        _datetime_schema,
        {"type": "string", "format": "date-time"},
    ),
    AfterValidator(_to_utc),
]


class RequestModel(BaseModel):
    """Base class of the data that clients send. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


def absent_by_default(description: str | None = None) -> Any:
    """Return the default of a field in an update model: clients may omit it, but not send null.

    For example `name: Name = absent_by_default()`. The attribute of an absent field is None.
    """
    return Field(default=None, description=description, json_schema_extra=remove_default)


def remove_default(schema: dict[str, Any]) -> None:
    """Remove the default of a field from its JSON schema. Use it as a `json_schema_extra`."""
    schema.pop("default", None)


class UpdateModel(RequestModel):
    """Base class of the request models of PATCH. Clients may omit every field.

    An update model usually inherits its fields from the create model:

        class AuthorUpdate(UpdateModel, AuthorCreate): ...

    An absent field has the value None, even if its type does not allow None. Use
    `model_dump(exclude_unset=True)` to distinguish it from a field that was sent as null.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._forbid_inherited_validators()
        for field in cls.model_fields.values():
            field.default = None
            field.default_factory = None
            field.validate_default = False
            field.json_schema_extra = partial(_extend_without_default, field.json_schema_extra)
        # Pydantic built the model's validator before the fields were changed.
        cls.model_rebuild(force=True)

    @classmethod
    def _forbid_inherited_validators(cls) -> None:
        """Raise `TypeError` if the model inherits a model validator from a create model.

        Such a validator sees all fields at once and does not expect that absent ones are None.
        """
        for name, decorator in cls.__pydantic_decorators__.model_validators.items():
            # A "before" validator gets the data of the client, in which absent fields are absent.
            if decorator.info.mode == "before":
                continue
            owner = next(base for base in cls.__mro__ if name in vars(base))
            if not issubclass(owner, UpdateModel):
                raise TypeError(
                    f"{cls.__name__} inherits the validator `{name}` of {owner.__name__}, for which"
                    f" absent fields would be None. Define `{name}` in {cls.__name__} as well."
                )


def _extend_without_default(
    extra: dict[str, Any] | Callable[[dict[str, Any]], None] | None, schema: dict[str, Any]
) -> None:
    """Apply `extra`, the field's own `json_schema_extra`, and remove the default."""
    if callable(extra):
        extra(schema)
    elif extra is not None:
        schema.update(extra)
    remove_default(schema)


# Type of the field `updated_at` of a read model.
UpdatedAt = Annotated[
    datetime,
    Field(description="Time of the last change to the resource itself, not to embedded resources"),
]
# Type of the field `version` of a read model, which has to be the last field.
Version = Annotated[
    str,
    Field(
        max_length=200,
        description="The ETag without quotes. It changes whenever a displayed value changes",
        examples=["1"],
    ),
]


class ReadModel(BaseModel):
    """Base class of the representations of resources. Responses always contain all fields.

    A subclass declares the fields `id` and `version: Version`. They are not declared here because
    inherited fields come first in JSON and CSV, but `version` has to be the last column.
    """

    # Tells the type checker about these fields without declaring them.
    if TYPE_CHECKING:
        id: Any
        version: Version

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in ("id", "version"):
            if name not in cls.model_fields:
                raise TypeError(f"{cls.__name__} is a ReadModel, so it needs the field `{name}`.")
