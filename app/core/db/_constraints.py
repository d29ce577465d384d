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
from app.core.db._names import matches_reported_name
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
    """Finds the error to raise for a statement that violates a constraint of a table.

    Each method takes the name of the violated constraint, for example `fk_books_author_id_authors`
    or `uq_publishers_name`. It returns None if this class knows no error for the constraint, for
    example because it is a check constraint and the repository declares no error for it.
    """

    def __init__(
        self, table: sa.Table, noun: str, declared_errors: Mapping[str, Callable[[], ServiceError]]
    ) -> None:
        """Create the lookup of errors for the constraints of one table.

        Args:
            table: The table to which rows are written.
            noun: The name of one of its rows in sentences, for example "Book".
            declared_errors: Functions that create the errors which the repository declares, by
                names of constraints. They take precedence over errors derived from the table.
        """
        self._table = table
        self._noun = noun.lower()
        self._declared_errors = declared_errors

    def find_write_error(self, constraint_name: str) -> ServiceError | None:
        """Return the error to raise if INSERT or UPDATE of one row violates the constraint.

        The error for a reference to a missing author is `InvalidRequest` with a pointer to the
        field, `/author_id`. The error for a row that is not unique is `Conflict`, for example with
        the detail "Another publisher has this name".
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
        """Return the error to raise if a row cannot be deleted because other rows refer to it.

        `constraint_name` is the foreign key of the other rows. The error is, for example, a
        `Conflict` with the detail "The publisher cannot be deleted while books refer to it".
        """
        if constraint_name in self._declared_errors:
            return self._declared_errors[constraint_name]()
        for referring_table in self._table.metadata.tables.values():
            for foreign_key in referring_table.foreign_key_constraints:
                refers_to_row = foreign_key.referred_table is self._table
                if refers_to_row and matches_reported_name(foreign_key, constraint_name):
                    referring_rows = referring_table.name.replace("_", " ")
                    return Conflict(
                        f"The {self._noun} cannot be deleted while {referring_rows} refer to it"
                    )
        return None

    async def find_batch_error(
        self, constraint_name: str, rows: Sequence[Row], session: Session
    ) -> ServiceError | None:
        """Return the error to raise if an INSERT of several rows violates the constraint.

        Postgres does not report which of the rows violate it, so this method finds them with a
        SELECT after the INSERT was rolled back. The error contains pointers to these rows, for
        example `/items/17/author_id`.

        Returns a `Conflict` without pointers if the rows do not violate the constraint any more,
        because another request has changed the database. The client can retry then.
        """
        if constraint_name in self._declared_errors:
            return self._declared_errors[constraint_name]()
        foreign_key = self._find_foreign_key(constraint_name)
        if foreign_key is not None:
            return await _find_missing_rows_error(foreign_key, rows, session)
        unique_constraint = self._find_unique_constraint(constraint_name)
        if unique_constraint is None:
            return None
        column_names = unique_constraint.columns.keys()
        is_partial_index = unique_constraint.dialect_kwargs.get("postgresql_where") is not None
        if is_partial_index:
            # Only Postgres knows which rows a partial index contains.
            return self._not_unique_error(column_names)
        duplicate_indexes = await self._find_duplicate_indexes(column_names, rows, session)
        if not duplicate_indexes:
            return Conflict()
        return self._not_unique_error(column_names, duplicate_indexes)

    def _find_foreign_key(self, constraint_name: str) -> sa.ForeignKeyConstraint | None:
        for constraint in self._table.foreign_key_constraints:
            if matches_reported_name(constraint, constraint_name):
                return constraint
        return None

    def _find_unique_constraint(self, constraint_name: str) -> UniqueConstraint | None:
        """Return the unique constraint, primary key or unique index with this name.

        Returns None for an index on an expression such as `lower(email)`, because the error names
        the columns whose values are not unique, and an expression is not a column.
        """
        for constraint in self._table.constraints:
            if not isinstance(constraint, sa.UniqueConstraint | sa.PrimaryKeyConstraint):
                continue
            if matches_reported_name(constraint, constraint_name):
                return constraint
        for index in self._table.indexes:
            has_only_columns = all(isinstance(part, sa.Column) for part in index.expressions)
            if index.unique and has_only_columns and matches_reported_name(index, constraint_name):
                return index
        return None

    def _not_unique_error(
        self, column_names: Sequence[str], duplicate_indexes: Sequence[int] = ()
    ) -> Conflict:
        """Return the error for rows whose values in these columns are not unique.

        Its detail for a single row is "Another publisher has this name". For a batch, it lists the
        rows at `duplicate_indexes`: "Another publisher has this name: /items/1, /items/4".
        """
        detail = f"Another {self._noun} has this {' and '.join(column_names)}"
        if duplicate_indexes:
            pointers = [json_pointer("items", index) for index in duplicate_indexes[:MAX_POINTERS]]
            detail = f"{detail}: {', '.join(pointers)}"
        return Conflict(detail)

    async def _find_duplicate_indexes(
        self, column_names: Sequence[str], rows: Sequence[Row], session: Session
    ) -> list[int]:
        """Return the indexes of the rows whose values in these columns are not unique.

        A row is a duplicate if the table, or an earlier row of `rows`, contains the same values.
        """
        values_of_rows = [tuple(row.get(name) for name in column_names) for row in rows]
        seen_values = await select_existing_values(
            self._table, column_names, values_of_rows, session
        )
        duplicate_indexes = []
        for index, values in enumerate(values_of_rows):
            # Unique constraints treat NULLs as different from each other.
            if values in seen_values and None not in values:
                duplicate_indexes.append(index)
            seen_values.add(values)
        return duplicate_indexes


async def _find_missing_rows_error(
    foreign_key: sa.ForeignKeyConstraint, rows: Sequence[Row], session: Session
) -> InvalidRequest | Conflict:
    """Return the error for a batch in which some rows refer to rows that do not exist.

    Returns a `Conflict` without details if another request has created the missing rows by now.
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
            field_errors += _missing_row_field_errors(foreign_key, "items", index)
    if not field_errors:
        return Conflict()
    return InvalidRequest(*field_errors)


def _missing_row_field_errors(
    foreign_key: sa.ForeignKeyConstraint, *item_path: str | int
) -> list[FieldError]:
    """Return one field error for each column of a foreign key that refers to a missing row.

    `item_path` locates the referring row in the body. For example, "items" and 17 result in a field
    error for `/items/17/author_id`.
    """
    return [
        missing_row_field_error(column_name, json_pointer(*item_path, column_name))
        for column_name in foreign_key.column_keys
    ]


def missing_row_field_error(column_name: str, pointer: str) -> FieldError:
    """Return the field error for a reference to a row that does not exist.

    The error for the column `author_id` has the code `author_not_found`.

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
    """Return those of the searched values that the columns of a table contain.

    With the column `id` of `authors` and the values `[(7,), (8,)]`, the result is `{(7,)}` if only
    author 7 exists. The statement is:

        SELECT authors.id FROM authors
        JOIN unnest(:ids) AS searched (id) ON authors.id = searched.id
    """
    columns = [table.c[name] for name in column_names]
    searched = unnest_rows(columns, searched_values, "searched")
    matches_searched = sa.and_(*(column == searched.c[column.name] for column in columns))
    statement = sa.select(*columns).join_from(table, searched, matches_searched)
    rows = await session.execute(statement)
    return {tuple(row[name] for name in column_names) for row in rows}
