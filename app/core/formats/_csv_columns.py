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
# Types whose values the `csv` module formats like JSON. It formats those of subclasses differently,
# for example `True` for the JSON `true`.
_PLAIN_TYPES: Final = {str, int, float, Decimal, UUID, date, time, NoneType}
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
    """Return the type of each field by name, in the order in which JSON has the fields.

    Fields that are excluded from JSON are left out, and computed fields are included.
    """
    field_types = {
        name: field.annotation for name, field in model.model_fields.items() if not field.exclude
    }
    for name, computed_field in model.model_computed_fields.items():
        field_types[name] = computed_field.return_type
    return field_types


def _field_column_getters(
    model: type[BaseModel], field_name: str, annotation: Any
) -> dict[str, ColumnGetter]:
    """Return the CSV columns of one field and, for each, a function that returns its value.

    A field whose type is a model has several columns, every other field has one. `annotation` is
    the type of the field, for example `str | None`.
    """
    nested = find_nested_model(annotation)
    if nested is not None and not nested.is_list:
        return _nested_column_getters(model, field_name, nested)

    is_list_of_models = nested is not None
    if is_list_of_models or _is_list_of_scalars(annotation):
        return {field_name: partial(_get_json_array, field_name)}
    if _is_scalar(annotation):
        get_value = attrgetter(field_name)
        if _PLAIN_TYPES.issuperset(union_members(annotation)):
            return {field_name: get_value}
        return {field_name: partial(_get_converted_value, get_value)}
    raise TypeError(
        f"CSV has no column for {model.__name__}.{field_name} of type {annotation}. Make it a "
        "single value, a model or a list of these, or exclude it."
    )


def _get_converted_value(get_value: ColumnGetter, item: BaseModel) -> object:
    """Return a value so that CSV shows it like JSON, for example `2026-11-21T19:47:34Z` or `true`.

    Numbers and texts are returned unchanged, because the `csv` module formats them like JSON.
    """
    value = get_value(item)
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
    """Return the CSV columns of a field that contains another model, such as an author.

    Their names begin with the name of the field, for example `author_name`. The column `author_id`
    is left out if the outer model has a field `author_id`, because that has the same value.
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
    """Return the value of one column of a nested model, for example the name of a book's author.

    `get_nested` returns the author of the book `item`, and `get_column` the name of the author.
    Returns None if the book has no author.
    """
    nested_item = get_nested(item)
    if nested_item is None:
        return None
    return get_column(nested_item)


def _get_json_array(field_name: str, item: BaseModel) -> str:
    """Return the list that a field contains as JSON, for example `[{"name": "Novel"}]`."""
    json_array = item.model_dump(mode="json", include={field_name})[field_name]
    return json.dumps(json_array, ensure_ascii=False)


def _is_scalar(annotation: Any) -> bool:
    """Return whether every value of a type fits into one CSV column.

    This is true for `date | None` and `Literal["a", "b"]`, but not for a list or a model.
    """
    for member in union_members(annotation):
        is_literal = get_origin(member) is Literal
        is_scalar_type = isinstance(member, type) and issubclass(member, _SCALAR_TYPES)
        if member is not NoneType and not is_literal and not is_scalar_type:
            return False
    return True


def _is_list_of_scalars(annotation: Any) -> bool:
    """Return whether a type is a list of single values, for example `list[str]`."""
    return get_origin(annotation) is list and _is_scalar(get_args(annotation)[0])
