"""Finds the references of rows that refer to missing rows, for example to a deleted author.

Postgres reports that a foreign key is violated, but not by which of several rows.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.core.db._arrays import unnest_rows
from app.core.db._sessions import Row, Session
from app.core.errors import Conflict, InvalidRequest
from app.core.field_errors import FieldError, json_pointer

# The values of several columns of one row, in the order of the columns.
ColumnValues = tuple[Any, ...]


async def find_missing_rows_error(
    foreign_key: sa.ForeignKeyConstraint, rows: Sequence[Row], session: Session
) -> InvalidRequest | Conflict:
    """Return the error for a batch of rows, some of which refer to rows that do not exist.

    If book 17 of a batch refers to an author that does not exist, the error is an `InvalidRequest`
    with a pointer to the reference, `/items/17/author_id`. If another request has created all
    missing rows by now, the error is a `Conflict`, and the client can retry.
    """
    references = [tuple(row.get(column) for column in foreign_key.column_keys) for row in rows]
    referred_columns = [element.column.name for element in foreign_key.elements]
    existing_references = await select_existing_values(
        foreign_key.referred_table, referred_columns, references, session
    )
    field_errors = []
    for index, reference in enumerate(references):
        # Postgres does not check a foreign key if one of its columns is NULL.
        if None not in reference and reference not in existing_references:
            field_errors += missing_row_field_errors(foreign_key, "items", index)
    if not field_errors:
        return Conflict()
    return InvalidRequest(*field_errors)


def missing_row_field_errors(
    foreign_key: sa.ForeignKeyConstraint, *item_path: str | int
) -> list[FieldError]:
    """Return the field errors of a row that refers to a missing row by this foreign key.

    A foreign key of several columns results in one field error per column. `item_path` is the
    location of the row in the request body. With "items" and 17, the pointer of the field error is
    `/items/17/author_id`. Without it, the pointer is `/author_id`.
    """
    return [
        missing_row_field_error(column_name, json_pointer(*item_path, column_name))
        for column_name in foreign_key.column_keys
    ]


def missing_row_field_error(column_name: str, pointer: str) -> FieldError:
    """Return the field error for a reference to a row that does not exist.

    The field error of the column `author_id` has the code `author_not_found`.

    Args:
        column_name: The column that refers to the missing row. Its name ends with `_id`.
        pointer: The location of the value in the body, for example `/items/17/author_id`.
    """
    referred_noun = column_name.removesuffix("_id")
    return FieldError(
        pointer=pointer,
        code=f"{referred_noun}_not_found",
        detail=f"There is no {referred_noun.replace('_', ' ')} with this id",
    )


async def select_existing_values(
    table: sa.FromClause,
    column_names: Sequence[str],
    searched_values: Sequence[ColumnValues],
    session: Session,
) -> set[ColumnValues]:
    """Return the subset of `searched_values` that exists in columns of a table.

    Each searched value is a tuple with one value per column. If author 7 exists and author 8 does
    not, the values `[(7,), (8,)]` of the column `id` of `authors` result in `{(7,)}`:

        SELECT authors.id FROM authors
        JOIN unnest(:ids) AS searched (id) ON authors.id = searched.id
    """
    columns = [table.c[name] for name in column_names]
    searched = unnest_rows(columns, searched_values, "searched")
    matches_searched = sa.and_(*(column == searched.c[column.name] for column in columns))
    statement = sa.select(*columns).join_from(table, searched, matches_searched)
    rows = await session.execute(statement)
    return {tuple(row[name] for name in column_names) for row in rows}
