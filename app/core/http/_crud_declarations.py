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
    """Raise `TypeError` unless the field `id` of a read model is a UUID.

    The endpoints that take an id in the path, such as `GET /authors/{id}`, accept only UUIDs.
    """
    id_type = read_model.model_fields["id"].annotation
    if id_type is not UUID:
        raise TypeError(
            f"CrudEndpoints need a UUID key, but {read_model.__name__}.id is {id_type}. Write "
            "the endpoints without CrudEndpoints, as app/books/router.py does."
        )


def require_columns(model: type[BaseModel], statements: Statements, service_method: str) -> None:
    """Raise `TypeError` if a field of a create or update model is not a column of the table.

    Args:
        model: The create or update model, for example `AuthorCreate`.
        statements: The SQL statements of the entity, which contain its table.
        service_method: The service method that writes the fields, "create" or "update", for the
            error message.
    """
    table = statements.table
    for field_name in model.model_fields:
        if field_name not in table.c:
            raise TypeError(
                f"{model.__name__}.{field_name} is not a column of {table.name}. Add the column, "
                f"or override `{service_method}` of the service."
            )


def require_filter_conditions(query_model: type[PageQuery], statements: Statements) -> None:
    """Raise `TypeError` if a field of a query model is a filter without an SQL condition.

    A field such as `author_id` is a filter. Its condition has the same name in
    `Statements(filters={"author_id": equals(Book.author_id)})`, unless it follows from a column
    (`core/column_filters.py`). Fields that select a page, such as `cursor`, and `sort` are not
    filters.
    """
    fields_without_filter = {*PAGE_PARAMETERS, "sort"}
    valid_field_names = fields_without_filter | statements.filter_names
    for field_name in query_model.model_fields:
        if field_name in valid_field_names:
            continue
        field = f"{query_model.__name__}.{field_name}"
        if field_name == "q":
            # The statements define the condition of `q` themselves, if the table can be searched.
            raise TypeError(
                f"{field} needs the column {statements.table.name}.search. Add the column, or "
                f"derive {query_model.__name__} from PageQuery, which has no field `q`."
            )
        raise TypeError(
            f"{field} is a filter without a condition. Add a condition of this name to `filters` "
            "of the Statements."
        )


def require_sort_columns(query_model: type[PageQuery], statements: Statements) -> None:
    """Raise `TypeError` if clients can sort a list by a column that cursors do not support.

    Clients can sort by the names that the field `sort` of the query model allows, for example
    `sort: SortKeys[Literal["name", "-name"]]`. A query model without this field is valid.
    """
    for sort_key in _find_allowed_sort_keys(query_model):
        # The sort key `-name` sorts by the column `name` in descending order.
        column_name = sort_key.removeprefix("-")
        _require_sort_column(column_name, statements, f"{query_model.__name__}.sort")


def _find_allowed_sort_keys(query_model: type[PageQuery]) -> tuple[str, ...]:
    """Return the sort keys that the field `sort` of a query model allows.

    For `sort: SortKeys[Literal["name", "-name"]]`, this is `("name", "-name")`. It is empty if the
    model has no field `sort`. Raises `TypeError` if the type of the field is not a Literal.
    """
    sort_field = query_model.model_fields.get("sort")
    if sort_field is None:
        return ()
    # The annotation `SortKeys[Literal["name", "-name"]]` is `tuple[Literal["name", "-name"], ...]`.
    item_type = get_args(sort_field.annotation)[0]
    [literal_type] = union_members(item_type)
    if get_origin(literal_type) is not Literal:
        raise TypeError(
            f"{query_model.__name__}.sort has to list its keys in a Literal, for example "
            '`SortKeys[Literal["name", "-name"]]`.'
        )
    return get_args(literal_type)


def _require_sort_column(column_name: str, statements: Statements, sort_field: str) -> None:
    """Raise `TypeError` if a list that is sorted by a column cannot be continued after a cursor.

    A cursor contains the values by which the last item of a page was sorted, and the next page
    contains the rows after these values. The values are fields of the read model. SQL cannot
    compare values with NULL, so a column that may be NULL needs a value to sort NULL as.

    Args:
        column_name: For example "name".
        statements: The SQL statements of the entity.
        sort_field: The field that allows the column, for the message: "AuthorQuery.sort".
    """
    if column_name not in statements.selection.column_names:
        raise TypeError(
            f"{sort_field} allows {column_name}, which is not a field of the read model. A cursor "
            "contains the values of the fields by which a list is sorted."
        )
    # The first sort key is that of the column. The primary key follows it.
    sort_key = statements.parse_sort((column_name,))[0]
    may_be_null = statements.table.c[column_name].nullable
    if may_be_null and sort_key.null_as is None:
        raise TypeError(
            f"{sort_field} allows {column_name}, which may be NULL. The pages after a cursor would "
            f"not contain rows with NULL. Add {column_name} to `sort_nulls_as` of the Statements."
        )
