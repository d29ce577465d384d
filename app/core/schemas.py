"""The bases of request and response models, and field types that take only canonical forms.

Pydantic converts generously: a number to a date, `1_0` to ten. Here a value that would be
converted silently is refused, whether it comes in JSON or as text of a path or query.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import CoreSchema, core_schema

MAX_INT64: Final = 2**63 - 1


@dataclass(frozen=True, eq=False)
class CanonicalText:
    """Takes only a string that matches `pattern` whole, then validates it as `target`."""

    pattern: str
    target: CoreSchema
    schema: dict[str, Any]  # what the OpenAPI document says of it

    def __get_pydantic_core_schema__(self, *_: Any) -> CoreSchema:
        text = core_schema.str_schema(strict=True, pattern=f"^(?:{self.pattern})$")
        return core_schema.chain_schema([text, self.target])

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return dict(self.schema)


def integer_between(minimum: int, maximum: int) -> CanonicalText:
    """An integer of a path or query, in decimal digits without padding or separators."""
    target = core_schema.int_schema(ge=minimum, le=maximum)
    schema = {"type": "integer", "minimum": minimum, "maximum": maximum}
    return CanonicalText("0|-?[1-9][0-9]{0,18}", target, schema)


NO_NUL_PATTERN: Final = r"^[^\x00]*$"


def string_of_length(shortest: int, longest: int) -> StringConstraints:
    """A string of so many characters, without NUL, which Postgres cannot store."""
    return StringConstraints(
        strict=True, min_length=shortest, max_length=longest, pattern=NO_NUL_PATTERN
    )


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
    UUID, CanonicalText(_UUID, core_schema.uuid_schema(), {"type": "string", "format": "uuid"})
]
Date = Annotated[date, CanonicalText(_DATE, _FINITE, {"type": "string", "format": "date"})]
Instant = Annotated[
    datetime,
    CanonicalText(f"{_DATE}T{_TIME}", _AWARE, {"type": "string", "format": "date-time"}),
    AfterValidator(_to_utc),
]


class RequestModel(BaseModel):
    """Base of what clients send: a field that we do not know is an error, not noise."""

    model_config = ConfigDict(extra="forbid")


def absent_by_default(description: str | None = None) -> Any:
    """Default of a field in an update model: it may be left out, which is not the same as null."""
    return Field(default=None, description=description, json_schema_extra=remove_default)


def remove_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class UpdateModel(RequestModel):
    """Base of the request models of PATCH. Every field may be absent.

    An update model usually inherits its fields from the create model:

        class AuthorUpdate(UpdateModel, AuthorCreate): ...

    An absent field has the value None, even if its type does not allow None. Use
    `model_dump(exclude_unset=True)` to distinguish it from a field that was sent as null.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._refuse_inherited_validators()
        for field in cls.model_fields.values():
            field.default = None
            field.default_factory = None
            field.validate_default = False
            field.json_schema_extra = partial(_extend_without_default, field.json_schema_extra)
        # Pydantic has built its validator from the fields as they were before.
        cls.model_rebuild(force=True)

    @classmethod
    def _refuse_inherited_validators(cls) -> None:
        """Refuse a validator of a whole create model, which does not expect None."""
        for name, decorator in cls.__pydantic_decorators__.model_validators.items():
            owner = next(base for base in cls.__mro__ if name in vars(base))
            if decorator.info.mode != "before" and not issubclass(owner, UpdateModel):
                raise TypeError(
                    f"{cls.__name__} inherits the validator `{name}` of {owner.__name__}, for which"
                    f" absent fields would be None. Define `{name}` in {cls.__name__} as well."
                )


def _extend_without_default(
    extra: dict[str, Any] | Callable[[dict[str, Any]], None] | None, schema: dict[str, Any]
) -> None:
    """Apply a field's own `json_schema_extra`, and remove the default."""
    if callable(extra):
        extra(schema)
    elif extra is not None:
        schema.update(extra)
    remove_default(schema)


# The type of the field `updated_at` of a read model.
UpdatedAt = Annotated[
    datetime,
    Field(description="Time of the last change to the resource itself, not to an embedded one"),
]
# The type of the field `version` of a read model, which is its last field.
Version = Annotated[
    str,
    Field(
        max_length=200,
        description="The ETag without its quotes; it changes whenever a displayed value changes",
        examples=["1"],
    ),
]


class ReadModel(BaseModel):
    """Base of the representation of a resource. All of its fields are always present.

    A subclass declares the fields `id` and `version: Version`. They are not declared here because
    inherited fields come first in JSON and CSV, and `version` has to be the last one.
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


@dataclass(frozen=True)
class Nested:
    """The type of a field that contains another model, an optional model or a list of models."""

    model: type[BaseModel]
    is_optional: bool
    is_list: bool


def find_nested_models(model: type[BaseModel]) -> dict[str, Nested]:
    """Return the fields whose type is a model, an optional model or a list of models.

    For example `{"author": Nested(BookAuthor, is_optional=False, is_list=False)}`.
    """
    fields = {}
    for name, field in model.model_fields.items():
        nested = find_nested_model(field.annotation)
        if nested is not None:
            fields[name] = nested
    return fields


def find_nested_model(annotation: Any) -> Nested | None:
    """Return the model in a type such as `BookAuthor | None` or `list[Tag]`, if it has one."""
    options = union_members(annotation)
    types = [option for option in options if option is not NoneType]
    if len(types) != 1:
        return None
    [model] = types
    is_list = get_origin(model) is list
    if is_list:
        [item_type] = get_args(model)
        model = union_members(item_type)[0]
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        return None
    return Nested(model, is_optional=NoneType in options, is_list=is_list)


def union_members(annotation: Any) -> list[Any]:
    """Return the types that a value may have, without metadata.

    For example `[date, NoneType]` for `Annotated[date, ...] | None`.
    """
    if get_origin(annotation) is Annotated:
        return union_members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return [part for option in get_args(annotation) for part in union_members(option)]
    return [annotation]
