"""Reads the items of a page as JSON, which Postgres creates and Pydantic parses.

Otherwise, the driver creates an object for each value of a row, and Pydantic validates a dict of
these objects. Pydantic also serializes the UUIDs of the driver slowly. A page of 20 books with
their authors takes 159 instead of 203 us of CPU in the service, but 99 instead of 55 us in
Postgres. docs/decisions/rows-instead-of-entities.md has further measurements.

The statement of a page of books then selects one column for all fields, besides the columns from
which the repository creates the cursor of the next page:

    SELECT page.id, page.created_at,
        CAST(json_build_object(
            'id', page.id, 'title', page.title, ...,
            'author', json_build_object('id', author_row.id, 'name', author_row.name, ...)
        ) AS TEXT) AS item__json
    FROM ...

The models are equal to those that are created from rows, which `tests/core/test_json_items.py`
verifies. This requires that the value of each column has one representation in JSON, and that the
fields have the types of their columns. Other lists are read as rows.

Times in JSON are in the time zone of the connection, which `_connection_options.py` sets to UTC.
Infinite times are not supported. The driver does not write any.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from typing import Any, Final, TypeVar
from uuid import UUID

import sqlalchemy as sa
from annotated_types import BaseMetadata
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from app.core.db._sessions import Row

ITEM_COLUMN: Final = "item__json"
_SUPPORTED_TYPES: Final = (UUID, str, bool, int, date, datetime)
# A function of Postgres has at most 100 arguments, which are the names and values of fields.
_MAX_FIELDS: Final = 50
ModelT = TypeVar("ModelT", bound=BaseModel)


def has_json_fields(model: type[BaseModel], columns: Mapping[str, sa.ColumnElement[Any]]) -> bool:
    """Return whether the fields of a model have the same values if they are parsed from JSON.

    `columns` are the columns of the fields, by name. A field that is not among them is ignored.
    """
    decorators = model.__pydantic_decorators__
    # A validator could treat text in another way than the object for which it stands.
    if decorators.field_validators or decorators.model_validators or decorators.validators:
        return False
    if len(model.model_fields) > _MAX_FIELDS:
        return False
    return all(
        _has_column_type(model.model_fields[name], column) for name, column in columns.items()
    )


def _has_column_type(field: FieldInfo, column: sa.ColumnElement[Any]) -> bool:
    """Return whether a field has the type of its column, and whether JSON represents the type."""
    if isinstance(column.type, sa.Enum | sa.types.TypeDecorator):
        return False
    if isinstance(column.type, sa.DateTime) and not column.type.timezone:
        return False
    # Other metadata than a limit, such as a length, may be a validator.
    if not all(isinstance(metadata, BaseMetadata) for metadata in field.metadata):
        return False
    # Not `Annotated[date, ...] | None`, whose metadata could be a validator as well.
    column_type = column.type.python_type
    has_column_type = field.annotation in (column_type, column_type | None)
    return has_column_type and column_type in _SUPPORTED_TYPES


def build_json_object(values: Mapping[str, sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    """Return the SQL expression `json_build_object('id', page.id, 'title', page.title, ...)`."""
    names_and_values: list[Any] = []
    for name, value in values.items():
        names_and_values += [sa.literal_column(f"'{name}'"), _replace_infinity(value)]
    return sa.func.json_build_object(*names_and_values)


def _replace_infinity(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Replace an infinite date by the first or last date of Python, as the driver does.

    The driver writes `date.min` and `date.max` as infinite dates. It writes no infinite times.
    """
    if not isinstance(value.type, sa.Date):
        return value
    negative_infinity, infinity, first_date, last_date = (
        sa.literal_column(f"'{text}'::date", sa.Date)
        for text in ("-infinity", "infinity", date.min, date.max)
    )
    # NULL meets none of the conditions, and stays NULL.
    return sa.case(
        (sa.func.isfinite(value), value),
        (value == negative_infinity, first_date),
        (value == infinity, last_date),
    )


def select_items_as_json(
    statement: sa.Select[Any], item: sa.ColumnElement[Any], replaced_columns: Collection[str | None]
) -> sa.Select[Any]:
    """Replace columns of a statement by one that contains them as the text of a JSON object.

    Args:
        statement: Selects the rows of a page.
        item: The JSON object, an expression of columns that the statement selects.
        replaced_columns: The names of the columns to remove.
    """
    other_columns = [
        column for column in statement.selected_columns if column.key not in replaced_columns
    ]
    item_text = sa.cast(item, sa.Text).label(ITEM_COLUMN)
    return statement.with_only_columns(*other_columns, item_text, maintain_column_froms=True)


def parse_items(model: type[ModelT], rows: Sequence[Row]) -> list[ModelT]:
    """Return the models of rows that `select_items_as_json` has selected."""
    json_array = ",".join([row[ITEM_COLUMN] for row in rows])
    return list_adapter(model).validate_json(f"[{json_array}]")


# Cached because creating the validator is slow.
@cache
def list_adapter(model: type[ModelT]) -> TypeAdapter[list[ModelT]]:
    """Return the validator of a list of these models."""
    return TypeAdapter(list[model])  # type: ignore[valid-type]
