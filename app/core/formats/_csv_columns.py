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

from app.core.nested_models import NestedModel, find_nested_model, union_members

# Takes an instance of the model and returns its value in one column.
ColumnGetter = Callable[[Any], object]
# Types whose values fit into one column. `bool` is a subclass of `int`, and `datetime` of `date`.
_SCALAR_TYPES: Final = (str, int, float, Decimal, UUID, date, time, Enum)


def csv_column_getters(model: type[BaseModel]) -> dict[str, ColumnGetter]:
    """Return the CSV columns of a model and, for each, a function that returns its value.

    The columns have the order of the fields. The type of a field determines its columns:

        field                 columns        example of a value
        title: str            title          The Iliad
        author: BookAuthor    author_name    Homer
                              author_dob     (empty)
        tags: list[Tag]       tags           [{"name": "Epic"}]

    Raises `TypeError` if a field has another type or if two fields have the same column.
    """
    getters: dict[str, ColumnGetter] = {}
    for field_name, annotation in _field_types(model).items():
        for column, getter in _field_column_getters(model, field_name, annotation).items():
            if column in getters:
                raise TypeError(
                    f"CSV has two columns {column} for {model.__name__}. Rename one of the fields."
                )
            getters[column] = getter
    return getters


def _field_types(model: type[BaseModel]) -> dict[str, Any]:
    """Return the types of the fields that a model has in JSON, by name, in the same order."""
    field_types = {
        name: field.annotation for name, field in model.model_fields.items() if not field.exclude
    }
    for name, computed_field in model.model_computed_fields.items():
        field_types[name] = computed_field.return_type
    return field_types


def _field_column_getters(
    model: type[BaseModel], field_name: str, annotation: Any
) -> dict[str, ColumnGetter]:
    """Return the columns of one field of a model. See `csv_column_getters` for examples."""
    nested = find_nested_model(annotation)
    if nested is not None and not nested.is_list:
        return _nested_column_getters(model, field_name, nested)
    if nested is not None or _is_list_of_scalars(annotation):
        return {field_name: partial(_get_json_array, field_name)}
    if _is_scalar(annotation):
        return {field_name: attrgetter(field_name)}
    raise TypeError(
        f"CSV has no column for {model.__name__}.{field_name} of type {annotation}. Make it a "
        "single value, a model or a list of these, or exclude it."
    )


def to_csv_value(value: object) -> object:
    """Convert a value to the notation of JSON, for example `2026-11-21T19:47:34Z` or `true`.

    Values of other types are returned unchanged, because the `csv` module formats them.
    """
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.value
    return value


def _nested_column_getters(
    model: type[BaseModel], field_name: str, nested: NestedModel
) -> dict[str, ColumnGetter]:
    """Return the columns of a field that contains a model, for example `author_name`.

    All of them are empty in a row whose field is None. The column `author_id` is left out if the
    outer model has a field of this name, because it has the same value.
    """
    getters: dict[str, ColumnGetter] = {}
    for nested_column, get_column in csv_column_getters(nested.model).items():
        column = f"{field_name}_{nested_column}"
        is_repeated_key = nested_column == "id" and column in model.model_fields
        if not is_repeated_key:
            getters[column] = partial(_get_nested_value, attrgetter(field_name), get_column)
    return getters


def _get_nested_value(
    get_nested: ColumnGetter, get_column: ColumnGetter, item: BaseModel
) -> object:
    """Return the value of a column of the model in a field, or None if the field is None."""
    nested_item = get_nested(item)
    if nested_item is None:
        return None
    return get_column(nested_item)


def _get_json_array(field_name: str, item: BaseModel) -> str:
    """Return the list in a field as JSON, for example `[{"name": "Novel"}]`."""
    values = item.model_dump(mode="json", include={field_name})[field_name]
    return json.dumps(values, ensure_ascii=False)


def _is_scalar(annotation: Any) -> bool:
    """Return whether all values of a type fit into one column, as those of `date | None` do."""
    for option in union_members(annotation):
        is_literal = get_origin(option) is Literal
        is_scalar_type = isinstance(option, type) and issubclass(option, _SCALAR_TYPES)
        if option is not NoneType and not is_literal and not is_scalar_type:
            return False
    return True


def _is_list_of_scalars(annotation: Any) -> bool:
    return get_origin(annotation) is list and _is_scalar(get_args(annotation)[0])
