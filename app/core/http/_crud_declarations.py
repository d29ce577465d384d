"""Checks at startup that the Pydantic models of `CrudEndpoints` fit the table of the entity.

Each function raises a `TypeError` that names the field and says what to change.
"""

from typing import Literal, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from app.core.db import Statements
from app.core.nested_models import union_members
from app.core.paging import PAGE_PARAMETERS, PageQuery
from app.core.schemas import ReadModel


def require_uuid_id(read_model: type[ReadModel]) -> None:
    """Raise `TypeError` unless the field `id` is a UUID, as the path parameter `id` is."""
    id_type = read_model.model_fields["id"].annotation
    if id_type is not UUID:
        raise TypeError(
            f"CrudEndpoints need a UUID key, but {read_model.__name__}.id is {id_type}. Write "
            "the endpoints without CrudEndpoints, as app/books/router.py does."
        )


def require_columns(model: type[BaseModel], statements: Statements, method: str) -> None:
    """Raise `TypeError` if a field of a create or update model is not a column of the table.

    Args:
        model: For example `AuthorCreate`.
        statements: The SQL statements of the entity, which know its table.
        method: The method of the service that writes the fields: "create" or "update".
    """
    table = statements.table
    for name in model.model_fields:
        if name not in table.c:
            raise TypeError(
                f"{model.__name__}.{name} is not a column of {table.name}. Add the column, or "
                f"override `{method}` of the service."
            )


def require_filter_conditions(query_model: type[PageQuery], statements: Statements) -> None:
    """Raise `TypeError` if a field of a query model is a filter that no SQL condition implements.

    A field such as `author_id` is a filter. It needs a condition of the same name in
    `Statements(filters={"author_id": equals(Book.author_id)})`. The fields that select the page,
    such as `cursor`, and the field `sort` are not filters.
    """
    for name in query_model.model_fields:
        is_filter = name not in PAGE_PARAMETERS and name != "sort"
        if not is_filter or name in statements.filter_names:
            continue
        field = f"{query_model.__name__}.{name}"
        if name == "q":
            raise TypeError(
                f"{field} needs the column {statements.table.name}.search. Add the column, or "
                f"derive {query_model.__name__} from PageQuery, which has no field `q`."
            )
        raise TypeError(
            f"{field} is a filter without a condition. Add a condition of this name to `filters` "
            "of the Statements."
        )


def require_sort_columns(query_model: type[PageQuery], statements: Statements) -> None:
    """Raise `TypeError` if lists cannot be sorted and continued by a key of the field `sort`.

    The keys are the values of the Literal in `sort: SortKeys[Literal["name", "-name"]]`. A model
    without this field is valid.
    """
    sort_field = query_model.model_fields.get("sort")
    if sort_field is None:
        return
    # `SortKeys[Sort]` is `tuple[Sort, ...]`.
    [sort_type] = union_members(get_args(sort_field.annotation)[0])
    if get_origin(sort_type) is not Literal:
        raise TypeError(
            f"{query_model.__name__}.sort has to list its keys in a Literal, for example "
            '`SortKeys[Literal["name", "-name"]]`.'
        )
    for name in {key.removeprefix("-") for key in get_args(sort_type)}:
        _require_sort_column(f"{query_model.__name__}.sort", name, statements)


def _require_sort_column(sort_field: str, column: str, statements: Statements) -> None:
    """Raise `TypeError` if a cursor cannot continue a list that is sorted by a column.

    A cursor contains the values that the last row of a page has in the columns of the sort order.
    The next page begins after these values, and no row is before or after NULL.

    Args:
        sort_field: The field that allows the column, for the message: `AuthorQuery.sort`.
        column: The name of the column.
        statements: The SQL statements of the entity.
    """
    if column not in statements.selection.column_names:
        raise TypeError(
            f"{sort_field} allows {column}, which is not a field of the read model. A cursor "
            "contains the values of the fields by which a list is sorted."
        )
    sort_key = statements.sort_keys((column,))[0]
    if statements.table.c[column].nullable and sort_key.null_as is None:
        raise TypeError(
            f"{sort_field} allows {column}, which may be NULL. The pages after a cursor would not "
            f"contain rows with NULL. Add {column} to `sort_nulls_as` of the Statements."
        )
