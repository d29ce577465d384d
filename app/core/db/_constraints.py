"""Errors for violated constraints, derived from the declarations of the mapped classes.

    constraint                     violated by            error
    foreign key of the table       INSERT, UPDATE         422, pointer `/author_id`
    foreign key of another table   DELETE                 409, "... while books refer to it"
    unique constraint or index     INSERT, UPDATE         409, "Another publisher has this name"

In a batch, a pointer begins with the item, for example `/items/17/author_id`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._arrays import unnest_rows
from app.core.db._names import is_reported_as
from app.core.db._sessions import Session
from app.core.errors import Conflict, Fault, InvalidRequest, ServiceError, pointer

Row = Mapping[str, Any]
Values = tuple[Any, ...]
UniqueConstraint = sa.UniqueConstraint | sa.PrimaryKeyConstraint | sa.Index
# The maximum number of pointers in a sentence.
MAX_POINTERS: Final = 10


class ConstraintErrors:
    """Creates the errors for the constraints of one table.

    Every method takes the name of the violated constraint. It returns None if the repository does
    not declare an error for it and none can be derived, for example for a check constraint.
    """

    def __init__(
        self, table: sa.Table, noun: str, declared: Mapping[str, Callable[[], ServiceError]]
    ) -> None:
        """Create the errors of a table.

        Args:
            table: The table to which rows are written.
            noun: The name of its rows in sentences, for example "Book".
            declared: The `constraint_errors` of the repository, which take precedence.
        """
        self._table = table
        self._noun = noun.lower()
        self._declared = declared

    def find_write_error(self, name: str) -> ServiceError | None:
        """Return the error for an INSERT or UPDATE of one row."""
        if name in self._declared:
            return self._declared[name]()
        foreign_key = self._foreign_key(name)
        if foreign_key is not None:
            return InvalidRequest(*_missing_row_faults(foreign_key))
        unique = self._unique(name)
        if unique is not None:
            return self._not_unique(unique.columns.keys())
        return None

    def find_delete_error(self, name: str) -> ServiceError | None:
        """Return the error for a DELETE of a row to which other rows refer."""
        if name in self._declared:
            return self._declared[name]()
        for table in self._table.metadata.tables.values():
            for foreign_key in table.foreign_key_constraints:
                if foreign_key.referred_table is self._table and is_reported_as(foreign_key, name):
                    referring_rows = table.name.replace("_", " ")
                    return Conflict(
                        f"The {self._noun} cannot be deleted while {referring_rows} refer to it"
                    )
        return None

    async def find_batch_error(
        self, name: str, rows: Sequence[Row], session: Session
    ) -> ServiceError | None:
        """Return the error for an INSERT of many rows, after it has been rolled back.

        Executes one statement that finds out which rows violate the constraint. If none of them
        does any more, because another request has changed the database since, the error is a
        `Conflict` without details, and a retry may succeed.
        """
        if name in self._declared:
            return self._declared[name]()
        foreign_key = self._foreign_key(name)
        if foreign_key is not None:
            indexes = await _indexes_without_referred_row(foreign_key, rows, session)
            faults = []
            for index in indexes:
                faults += _missing_row_faults(foreign_key, index)
            return InvalidRequest(*faults) if faults else Conflict()
        unique = self._unique(name)
        if unique is None:
            return None
        columns = unique.columns.keys()
        if unique.dialect_kwargs.get("postgresql_where") is not None:
            # Only Postgres knows which rows a partial index contains.
            return self._not_unique(columns)
        duplicates = await self._duplicate_indexes(columns, rows, session)
        return self._not_unique(columns, duplicates) if duplicates else Conflict()

    def _foreign_key(self, name: str) -> sa.ForeignKeyConstraint | None:
        """Return the foreign key of the table with this name, if it has one."""
        for constraint in self._table.foreign_key_constraints:
            if is_reported_as(constraint, name):
                return constraint
        return None

    def _unique(self, name: str) -> UniqueConstraint | None:
        """Return the unique constraint or index of columns that has this name.

        There is none for an index on an expression such as `lower(email)`.
        """
        for constraint in self._table.constraints:
            if is_reported_as(constraint, name) and isinstance(
                constraint, sa.UniqueConstraint | sa.PrimaryKeyConstraint
            ):
                return constraint
        for index in self._table.indexes:
            if index.unique and is_reported_as(index, name) and _has_only_columns(index):
                return index
        return None

    def _not_unique(self, columns: Sequence[str], duplicates: Sequence[int] = ()) -> Conflict:
        detail = f"Another {self._noun} has this {' and '.join(columns)}"
        if duplicates:
            pointers = [pointer("items", index) for index in duplicates[:MAX_POINTERS]]
            detail = f"{detail}: {', '.join(pointers)}"
        return Conflict(detail)

    async def _duplicate_indexes(
        self, columns: Sequence[str], rows: Sequence[Row], session: Session
    ) -> list[int]:
        """Return the indexes of the rows that are not unique.

        Another row, earlier in the batch or in the table, has the same values in these columns.
        """
        values = [tuple(row.get(name) for name in columns) for row in rows]
        seen = await select_existing_values(self._table, columns, values, session)
        duplicates = []
        for index, value in enumerate(values):
            # NULL is not equal to NULL.
            if value in seen and None not in value:
                duplicates.append(index)
            seen.add(value)
        return duplicates


def _has_only_columns(index: sa.Index) -> bool:
    return all(isinstance(expression, sa.Column) for expression in index.expressions)


def _missing_row_faults(
    foreign_key: sa.ForeignKeyConstraint, index: int | None = None
) -> list[Fault]:
    """Return the faults of a row that refers to a missing row. `index` is its place in a batch."""
    item = () if index is None else ("items", index)
    return [missing_row_error(name, pointer(*item, name)) for name in foreign_key.column_keys]


def missing_row_error(column: str, location: str) -> Fault:
    """Return the fault for a reference to a row that does not exist.

    Args:
        column: The column with the reference, for example `author_id`.
        location: The JSON pointer to its value in the body, for example `/items/17/author_id`.
    """
    noun = column.removesuffix("_id")
    detail = f"There is no {noun.replace('_', ' ')} with this id"
    return Fault(pointer=location, code=f"{noun}_not_found", detail=detail)


async def _indexes_without_referred_row(
    foreign_key: sa.ForeignKeyConstraint, rows: Sequence[Row], session: Session
) -> list[int]:
    """Return the indexes of the rows that refer to a row that does not exist."""
    values = [tuple(row.get(name) for name in foreign_key.column_keys) for row in rows]
    names = [element.column.name for element in foreign_key.elements]
    existing = await select_existing_values(foreign_key.referred_table, names, values, session)
    return [
        index
        for index, value in enumerate(values)
        # Postgres does not check a foreign key if one of its columns is NULL.
        if None not in value and value not in existing
    ]


async def select_existing_values(
    table: sa.FromClause, names: Sequence[str], values: Sequence[Values], session: Session
) -> set[Values]:
    """Return the values that exist in columns of a table. Each value is a tuple of the columns.

    SELECT authors.id FROM authors JOIN unnest(:ids) AS searched (id) ON authors.id = searched.id
    """
    columns = [table.c[name] for name in names]
    searched = unnest_rows(columns, values, "searched")
    is_equal = sa.and_(*(column == searched.c[column.name] for column in columns))
    statement = sa.select(*columns).join_from(table, searched, is_equal)
    rows = await session.execute(statement)
    return {tuple(row[name] for name in names) for row in rows}
