"""Finds the error to raise for a violated constraint, from the declarations of the mapped classes.

    constraint                     violated by            error
    foreign key of the table       INSERT, UPDATE         422, pointer `/author_id`
    foreign key of another table   DELETE                 409, "... while books refer to it"
    unique constraint or index     INSERT, UPDATE         409, "Another publisher has this name"

In a batch, a pointer starts with the item, for example `/items/17/author_id`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._arrays import unnest_rows
from app.core.db._names import is_reported_as
from app.core.db._sessions import Session
from app.core.errors import Conflict, InvalidRequest, ServiceError
from app.core.field_errors import FieldError, json_pointer

Row = Mapping[str, Any]
# The values of several columns of one row, in the order of the columns.
ColumnValues = tuple[Any, ...]
UniqueConstraint = sa.UniqueConstraint | sa.PrimaryKeyConstraint | sa.Index
# The maximum number of JSON pointers in an error message.
MAX_POINTERS: Final = 10


class ConstraintErrors:
    """Finds the error to raise when a statement violates one of the constraints of a table.

    Every method takes the name of the violated constraint, for example `fk_books_author_id_authors`
    or `uq_publishers_name`. It returns None if there is no error for the constraint, for example
    for a check constraint that the repository does not list in its `constraint_errors`.
    """

    def __init__(
        self, table: sa.Table, noun: str, declared_errors: Mapping[str, Callable[[], ServiceError]]
    ) -> None:
        """Prepare the errors of a table.

        Args:
            table: The table to which rows are written.
            noun: The name of its rows in sentences, for example "Book".
            declared_errors: The errors that the repository declares by the names of constraints.
                They take precedence over the errors that this class derives from the table.
        """
        self._table = table
        self._noun = noun.lower()
        self._declared_errors = declared_errors

    def find_write_error(self, constraint_name: str) -> ServiceError | None:
        """Return the error for an INSERT or UPDATE of one row.

        For example, a row that refers to a missing author has an `InvalidRequest` with the pointer
        `/author_id`. A row that is not unique has a `Conflict`: "Another publisher has this name".
        """
        if constraint_name in self._declared_errors:
            return self._declared_errors[constraint_name]()
        foreign_key = self._find_foreign_key(constraint_name)
        if foreign_key is not None:
            return InvalidRequest(*_missing_row_field_errors(foreign_key))
        unique_constraint = self._find_unique_constraint(constraint_name)
        if unique_constraint is not None:
            return self._not_unique_error(unique_constraint.columns.keys())
        return None

    def find_delete_error(self, constraint_name: str) -> ServiceError | None:
        """Return the error for a DELETE of a row to which rows of another table refer.

        For example `Conflict`: "The publisher cannot be deleted while books refer to it".
        """
        if constraint_name in self._declared_errors:
            return self._declared_errors[constraint_name]()
        for table in self._table.metadata.tables.values():
            for foreign_key in table.foreign_key_constraints:
                refers_to_table = foreign_key.referred_table is self._table
                if refers_to_table and is_reported_as(foreign_key, constraint_name):
                    referring_rows = table.name.replace("_", " ")
                    return Conflict(
                        f"The {self._noun} cannot be deleted while {referring_rows} refer to it"
                    )
        return None

    async def find_batch_error(
        self, constraint_name: str, rows: Sequence[Row], session: Session
    ) -> ServiceError | None:
        """Return the error for an INSERT of many rows, which has been rolled back.

        Postgres does not report which rows violate the constraint, so this executes a statement to
        find them. The error has pointers to them, for example `/items/17/author_id`. If another
        request has changed the database since and no row violates the constraint any more, the
        error is a `Conflict` without details, and a retry may succeed.
        """
        if constraint_name in self._declared_errors:
            return self._declared_errors[constraint_name]()
        foreign_key = self._find_foreign_key(constraint_name)
        if foreign_key is not None:
            return await _find_missing_rows_error(foreign_key, rows, session)
        unique_constraint = self._find_unique_constraint(constraint_name)
        if unique_constraint is None:
            return None
        columns = unique_constraint.columns.keys()
        is_partial_index = unique_constraint.dialect_kwargs.get("postgresql_where") is not None
        if is_partial_index:
            # Only Postgres knows which rows a partial index contains.
            return self._not_unique_error(columns)
        duplicate_indexes = await self._find_duplicates(columns, rows, session)
        if not duplicate_indexes:
            return Conflict()
        return self._not_unique_error(columns, duplicate_indexes)

    def _find_foreign_key(self, constraint_name: str) -> sa.ForeignKeyConstraint | None:
        for constraint in self._table.foreign_key_constraints:
            if is_reported_as(constraint, constraint_name):
                return constraint
        return None

    def _find_unique_constraint(self, constraint_name: str) -> UniqueConstraint | None:
        """Return the unique constraint, primary key or unique index with this name.

        Returns None for an index on an expression, for example on `lower(email)`, because its
        columns are not known.
        """
        for constraint in self._table.constraints:
            if not isinstance(constraint, sa.UniqueConstraint | sa.PrimaryKeyConstraint):
                continue
            if is_reported_as(constraint, constraint_name):
                return constraint
        for index in self._table.indexes:
            has_only_columns = all(isinstance(part, sa.Column) for part in index.expressions)
            if index.unique and has_only_columns and is_reported_as(index, constraint_name):
                return index
        return None

    def _not_unique_error(
        self, columns: Sequence[str], duplicate_indexes: Sequence[int] = ()
    ) -> Conflict:
        """Return the error for rows that are not unique in these columns.

        For example "Another publisher has this name", or in a batch, whose rows
        `duplicate_indexes` are not unique, "Another publisher has this name: /items/1, /items/4".
        """
        detail = f"Another {self._noun} has this {' and '.join(columns)}"
        if duplicate_indexes:
            pointers = [json_pointer("items", index) for index in duplicate_indexes[:MAX_POINTERS]]
            detail = f"{detail}: {', '.join(pointers)}"
        return Conflict(detail)

    async def _find_duplicates(
        self, columns: Sequence[str], rows: Sequence[Row], session: Session
    ) -> list[int]:
        """Return the indexes of the rows that are not unique.

        Another row, in the table or earlier in `rows`, has the same values in these columns.
        """
        row_values = [tuple(row.get(column) for column in columns) for row in rows]
        seen_values = await select_existing_values(self._table, columns, row_values, session)
        duplicate_indexes = []
        for index, values in enumerate(row_values):
            # In a unique constraint, NULL is not equal to NULL.
            if values in seen_values and None not in values:
                duplicate_indexes.append(index)
            seen_values.add(values)
        return duplicate_indexes


async def _find_missing_rows_error(
    foreign_key: sa.ForeignKeyConstraint, rows: Sequence[Row], session: Session
) -> InvalidRequest | Conflict:
    """Return the error for a batch in which some rows refer to rows that do not exist."""
    row_values = [tuple(row.get(column) for column in foreign_key.column_keys) for row in rows]
    referred_columns = [element.column.name for element in foreign_key.elements]
    existing_values = await select_existing_values(
        foreign_key.referred_table, referred_columns, row_values, session
    )
    field_errors = []
    for index, values in enumerate(row_values):
        # Postgres does not check a foreign key if one of its columns is NULL.
        if None not in values and values not in existing_values:
            field_errors += _missing_row_field_errors(foreign_key, "items", index)
    if not field_errors:
        return Conflict()
    return InvalidRequest(*field_errors)


def _missing_row_field_errors(
    foreign_key: sa.ForeignKeyConstraint, *item_path: str | int
) -> list[FieldError]:
    """Return an error for each field of a reference to a row that does not exist.

    `item_path` is the place of the referring row in the body, for example `"items", 17`.
    """
    return [
        missing_row_field_error(column, json_pointer(*item_path, column))
        for column in foreign_key.column_keys
    ]


def missing_row_field_error(column: str, json_pointer: str) -> FieldError:
    """Return the error for a field that refers to a row that does not exist.

    For example, the column `author_id` has the code `author_not_found` and the detail "There is no
    author with this id". `json_pointer` is the place of the value in the body, for example
    `/items/17/author_id`.
    """
    referred_noun = column.removesuffix("_id")
    return FieldError(
        pointer=json_pointer,
        code=f"{referred_noun}_not_found",
        detail=f"There is no {referred_noun.replace('_', ' ')} with this id",
    )


async def select_existing_values(
    table: sa.FromClause,
    column_names: Sequence[str],
    searched_values: Sequence[ColumnValues],
    session: Session,
) -> set[ColumnValues]:
    """Return those of the searched values that exist in columns of a table.

    SELECT authors.id FROM authors JOIN unnest(:ids) AS searched (id) ON authors.id = searched.id
    """
    columns = [table.c[name] for name in column_names]
    searched = unnest_rows(columns, searched_values, "searched")
    is_equal = sa.and_(*(column == searched.c[column.name] for column in columns))
    statement = sa.select(*columns).join_from(table, searched, is_equal)
    rows = await session.execute(statement)
    return {tuple(row[name] for name in column_names) for row in rows}
