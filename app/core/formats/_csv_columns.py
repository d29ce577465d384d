"""The columns of a CSV file, derived from the fields of a model."""

import json
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import partial
from operator import attrgetter
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from app.core.schemas import Nested, find_nested_model, union_members

# Returns the value of a column from a model.
GetValue = Callable[[Any], object]
# The types of single values. `bool` is a subclass of `int`, and `datetime` of `date`.
_SCALARS: Final = (str, int, float, Decimal, UUID, date, time, Enum)


def csv_columns(model: type[BaseModel]) -> dict[str, GetValue]:
    """Return the columns of a model, in the order of its fields.

    A single value is one column. A field that is a model becomes one column for each of its
    fields: the name of a book's author is the column `author_name`. A list is one column with the
    text of a JSON array.

    Raises `TypeError` with a sentence for a field of another type.
    """
    columns: dict[str, GetValue] = {}
    for name, annotation in _field_types(model).items():
        for column, get_value in _field_columns(model, name, annotation).items():
            if column in columns:
                raise TypeError(
                    f"CSV has two columns {column} for {model.__name__}. Rename one of the fields."
                )
            columns[column] = get_value
    return columns


def _field_types(model: type[BaseModel]) -> dict[str, Any]:
    """Return the types of the fields that JSON has, too, in the same order."""
    fields = model.model_fields.items()
    types = {name: field.annotation for name, field in fields if not field.exclude}
    computed = model.model_computed_fields.items()
    return types | {name: field.return_type for name, field in computed}


def _field_columns(model: type[BaseModel], name: str, annotation: Any) -> dict[str, GetValue]:
    nested = find_nested_model(annotation)
    if nested is not None and not nested.is_list:
        return _nested_columns(model, name, nested)
    if nested is not None or _is_list_of_scalars(annotation):
        return {name: partial(_json_array, name)}
    if _is_scalar(annotation):
        return {name: attrgetter(name)}
    raise TypeError(
        f"CSV has no column for {model.__name__}.{name} of type {annotation}. Make it a single "
        "value, a model or a list of these, or exclude it."
    )


def to_csv_value(value: object) -> object:
    """Return a value in the form of JSON, for example `2026-11-21T19:47:34Z` or `true`.

    The `csv` module formats the types that are not converted here.
    """
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return value.value
    return value


def _nested_columns(model: type[BaseModel], name: str, nested: Nested) -> dict[str, GetValue]:
    """Return the columns of a field that is a model. Their values are empty if the field is None.

    The key is not repeated if the outer model has it itself, for example as `author_id`.
    """
    columns: dict[str, GetValue] = {}
    for inner_name, get_value in csv_columns(nested.model).items():
        column = f"{name}_{inner_name}"
        is_repeated_key = inner_name == "id" and column in model.model_fields
        if not is_repeated_key:
            columns[column] = partial(_nested_value, attrgetter(name), get_value)
    return columns


def _nested_value(get_nested: GetValue, get_value: GetValue, item: BaseModel) -> object:
    nested = get_nested(item)
    return None if nested is None else get_value(nested)


def _json_array(name: str, item: BaseModel) -> str:
    """Return the value of a field as JSON, for example `[{"name": "Novel"}]`."""
    values = item.model_dump(mode="json", include={name})[name]
    return json.dumps(values, ensure_ascii=False)


def _is_scalar(annotation: Any) -> bool:
    types = [option for option in union_members(annotation) if option is not NoneType]
    return all(
        get_origin(option) is Literal or (isinstance(option, type) and issubclass(option, _SCALARS))
        for option in types
    )


def _is_list_of_scalars(annotation: Any) -> bool:
    return get_origin(annotation) is list and _is_scalar(get_args(annotation)[0])
