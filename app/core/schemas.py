"""Base classes of request and response models, and strict types for their fields.

Pydantic converts values generously: the number 0 to a date, or the text `1_0` to ten. The types of
this module refuse values that would be converted silently, in JSON as well as in paths and queries.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from annotated_types import GroupedMetadata
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import core_schema

from app.core.date_messages import describe_wrong_date
from app.core.field_errors import BOOLEAN_MESSAGE, DATE_MESSAGE, UUID_MESSAGE
from app.core.patterns import CanonicalText, Pattern
from app.core.visible_text import VISIBLE_TEXT

# An id for examples. The command `seed` gives it to a book and its author, so that examples of the
# OpenAPI document work.
EXAMPLE_ID: Final = UUID("0199b2f4-c0de-7000-a000-000000000000")
# The largest number in a column of the type bigint.
MAX_INT64: Final = 2**63 - 1
# Text without the character NUL, which Postgres cannot store.
NO_NUL_PATTERN: Final = r"^[^\x00]*$"


# A JSON schema with this key has limits that depend on settings (`limit_from_setting`).
SETTING_LIMITS_KEY: Final = "x-setting-limits"


def limit_from_setting(keyword: str, setting_name: str) -> dict[str, Any]:
    """Return the part of a JSON schema that takes one of its limits from a setting.

    For example, `limit_from_setting("maximum", "token_ttl")` sets `maximum` in the OpenAPI document
    to TOKEN_TTL. The models do not know the settings, so a service has to enforce the limit.
    """
    return {SETTING_LIMITS_KEY: {keyword: setting_name}}


def integer_between(minimum: int, maximum: int) -> CanonicalText:
    """Return an annotation for an integer in a path or query, with inclusive limits.

    For example, `Annotated[int, integer_between(1, 100)]` accepts `100`, but not `101`, `007`,
    `1_0` or `+1`.
    """
    # The largest 64-bit integer has 19 digits.
    pattern = "0|-?[1-9][0-9]{0,18}"
    message = "Must be an integer such as 12, without leading zeros"
    value_schema = core_schema.int_schema(ge=minimum, le=maximum)
    json_schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return CanonicalText(pattern, message, value_schema, json_schema)


@dataclass(frozen=True)
class _StorableString(GroupedMetadata):
    """Annotation of a string that Postgres can store: limited length, without NUL characters.

    Pydantic applies each of the annotations that `__iter__` yields.
    """

    min_length: int
    max_length: int

    def __iter__(self) -> Iterator[Any]:
        # `strict` refuses other types, for example a number. Pydantic would convert it to a string.
        yield StringConstraints(strict=True, min_length=self.min_length, max_length=self.max_length)
        yield Pattern(NO_NUL_PATTERN, "Must not contain NUL characters")


def string_of_length(min_length: int, max_length: int) -> GroupedMetadata:
    """Return an annotation for a string with a minimum and a maximum number of characters.

    For example, `Annotated[str, string_of_length(1, 100)]` accepts "Kindred", but neither an empty
    string, nor the number 7, nor a string with a NUL character, which Postgres cannot store.
    """
    return _StorableString(min_length, max_length)


class _VisibleString(_StorableString):
    """Annotation of a string that Postgres can store and that people can see."""

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        yield VISIBLE_TEXT


def name_of_length(min_length: int, max_length: int) -> GroupedMetadata:
    """Return an annotation for a name or title with a minimum and a maximum number of characters.

    For example, `Annotated[str, name_of_length(1, 100)]` accepts "Kindred", but neither a blank nor
    other strings without a visible character. The string is not trimmed.
    """
    return _VisibleString(min_length, max_length)


_UUID: Final = "[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_uuid_schema: Final = core_schema.uuid_schema()
# asyncpg stores Python's first and last date as the infinities of Postgres, so they are refused.
_date_schema: Final = core_schema.date_schema(gt=date.min, lt=date.max)
_date_json_schema: Final = {"type": "string", "format": "date"}

# A UUID, for example `0197c2a4-8f6e-7b1d-9c3a-2e5f7a9b1c3d`.
Id = Annotated[
    UUID, CanonicalText(_UUID, UUID_MESSAGE, _uuid_schema, {"type": "string", "format": "uuid"})
]
# A date, for example `1929-10-21`.
Date = Annotated[
    date, CanonicalText(_DATE, DATE_MESSAGE, _date_schema, _date_json_schema, describe_wrong_date)
]
# A truth value in a query: `true` or `false`. Programs in Python write them as `True` and `False`.
Flag = Annotated[
    bool,
    CanonicalText(
        "true|True|false|False", BOOLEAN_MESSAGE, core_schema.bool_schema(), {"type": "boolean"}
    ),
]


class RequestModel(BaseModel):
    """Base class of models of request bodies and query parameters. It refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


def absent_by_default(description: str | None = None) -> Any:
    """Make a field of an update model optional, although its type does not allow null.

    For example `name: Name = absent_by_default()`. The attribute is None if the client omits the
    field.
    """
    return Field(default=None, description=description, json_schema_extra=remove_default)


def remove_default(json_schema: dict[str, Any]) -> None:
    """Remove the default of a field from its JSON schema. Use it as a `json_schema_extra`."""
    json_schema.pop("default", None)


class UpdateModel(RequestModel):
    """Base class of the models of PATCH requests. Clients may omit every field.

    An update model usually inherits its fields from the create model:

        class AuthorUpdate(UpdateModel, AuthorCreate): ...

    The attribute of an omitted field is None, even if the type of the field does not allow null.
    Use `model_dump(exclude_unset=True)` to get only the fields that the client sent.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Make all fields of a new subclass optional. Pydantic calls this for every subclass."""
        super().__pydantic_init_subclass__(**kwargs)
        cls._forbid_inherited_validators()

        for field in cls.model_fields.values():
            field.default = None
            field.default_factory = None
            field.validate_default = False
            field.json_schema_extra = partial(
                _extend_schema_without_default, field.json_schema_extra
            )

        # Pydantic has built the validator of the model before this method changed its fields.
        cls.model_rebuild(force=True)

    @classmethod
    def _forbid_inherited_validators(cls) -> None:
        """Raise `TypeError` if the update model inherits a model validator from a create model.

        A model validator checks several fields together. That of a create model expects that all of
        them are present, but in an update model, omitted fields are None.
        """
        for validator_name, decorator in cls.__pydantic_decorators__.model_validators.items():
            # A "before" validator gets the client's JSON object, which has no omitted fields.
            if decorator.info.mode == "before":
                continue
            # The first class in the inheritance order that defines the validator.
            defining_class = next(base for base in cls.__mro__ if validator_name in vars(base))
            if not issubclass(defining_class, UpdateModel):
                raise TypeError(
                    f"{cls.__name__} inherits the validator `{validator_name}` of "
                    f"{defining_class.__name__}, for which absent fields would be None. Define "
                    f"`{validator_name}` in {cls.__name__} as well."
                )


def _extend_schema_without_default(
    json_schema_extra: dict[str, Any] | Callable[[dict[str, Any]], None] | None,
    json_schema: dict[str, Any],
) -> None:
    """Apply the `json_schema_extra` of a field to its JSON schema, and remove the default.

    As in Pydantic, `json_schema_extra` is either a dict of additions, or a function that changes
    the JSON schema.
    """
    if callable(json_schema_extra):
        json_schema_extra(json_schema)
    elif json_schema_extra is not None:
        json_schema.update(json_schema_extra)
    remove_default(json_schema)


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
        description=(
            "The ETag without quotes. It changes with every change of the resource, and of the"
            " resources that it displays."
        ),
        examples=["1"],
    ),
]


class ReadModel(BaseModel):
    """Base class of models that represent a resource in responses, such as `BookRead`.

    A subclass declares the fields `id` and `version: Version`. This class does not declare them,
    because JSON and CSV would then start with `version`, which has to be the last column.
    """

    # Declares the fields for the type checker only.
    if TYPE_CHECKING:
        id: Any
        version: Version

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Raise `TypeError` if a new subclass has no `id` or `version`."""
        super().__pydantic_init_subclass__(**kwargs)
        for field_name in ("id", "version"):
            if field_name not in cls.model_fields:
                raise TypeError(
                    f"{cls.__name__} is a ReadModel, so it needs the field `{field_name}`."
                )
