"""Checks that the Pydantic models of `CrudEndpoints` fit the table, when these are declared.

Each function raises a `TypeError` that names the field and says what to do.
"""

from typing import Any, Literal, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from app.core.db import Statements
from app.core.paging import PAGE_PARAMETERS, PageQuery
from app.core.schemas import ReadModel, union_members


def check_key(read_model: type[ReadModel]) -> None:
    """Refuse a key that is not a UUID, which is the type of the path parameter `id`."""
    key_type = read_model.model_fields["id"].annotation
    if key_type is not UUID:
        raise TypeError(
            f"CrudEndpoints need a UUID key, but {read_model.__name__}.id is {key_type}. Write "
            "the endpoints out, as app/books/router.py does."
        )


def check_columns(model: type[BaseModel], statements: Statements, method: str) -> None:
    """Refuse a field of a create or update model that is not a column of the table."""
    table = statements.table
    for name in model.model_fields:
        if name not in table.c:
            raise TypeError(
                f"{model.__name__}.{name} is not a column of {table.name}. Add the column, or "
                f"override `{method}` of the service."
            )


def check_query(query_model: type[PageQuery], statements: Statements) -> None:
    """Refuse a filter that the statements lack, and a sort key that a cursor cannot use."""
    for name in query_model.model_fields:
        if name not in {*PAGE_PARAMETERS, "sort", *statements.filter_names}:
            raise TypeError(
                f"{query_model.__name__}.{name} has no condition. Add it to `filters` of the "
                "Statements; `q` needs a column `search`. A query that derives from PageQuery "
                "has only the filters that it declares."
            )
    sort = query_model.model_fields.get("sort")
    if sort is not None:
        _check_sort(query_model.__name__, sort.annotation, statements)


def _check_sort(model_name: str, annotation: Any, statements: Statements) -> None:
    # `SortKeys[Sort]` is `tuple[Sort, ...]`, and `Sort` is `Literal["name", "-name"]`.
    [keys] = union_members(get_args(annotation)[0])
    if get_origin(keys) is not Literal:
        raise TypeError(f"{model_name}.sort has to be a Literal of its keys: `SortKeys[Sort]`.")
    for name in {key.removeprefix("-") for key in get_args(keys)}:
        if name not in statements.selection.columns:
            raise TypeError(
                f"{model_name}.sort allows {name}, which is not a field of the read model. A "
                "cursor is made of these fields."
            )
        sort_key = statements.sort_keys((name,))[0]
        if statements.table.c[name].nullable and sort_key.null_as is None:
            raise TypeError(
                f"{model_name}.sort allows {name}, which may be NULL, so that rows would be "
                f"missing after a cursor. Add {name} to `sort_nulls_as` of the Statements."
            )
