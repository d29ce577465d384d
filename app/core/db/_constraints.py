"""Errors for violated constraints, derived from what the mapped classes declare.

    constraint                     violated by            error
    foreign key of the table       INSERT, UPDATE         422, pointer `/author_id`
    foreign key of another table   DELETE                 409, "... while books refer to it"
    unique constraint or index     INSERT, UPDATE         409, "Another publisher has this name"

In a batch, the pointers are those of its items, for example `/items/17/author_id`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._names import has_name
from app.core.db._sessions import Session
from app.core.errors import Conflict, Fault, InvalidRequest, ServiceError, pointer

Row = Mapping[str, Any]
Values = tuple[Any, ...]
UniqueConstraint = sa.UniqueConstraint | sa.PrimaryKeyConstraint | sa.Index
MAX_POINTERS: Final = 10  # in a sentence


class ConstraintErrors:
    """Creates the errors for the constraints of one table.

    Every method takes the name of the violated constraint. It returns None if neither the
    repository nor the mapped class says what the constraint means.
    """

    def __init__(
        self, table: sa.Table, noun: str, declared: Mapping[str, Callable[[], ServiceError]]
    ) -> None:
        """Create the errors of a table.

        Args:
            table: The table to which rows are written.
            noun: The name of its rows in sentences, for example "Book".
            declared: The errors that the repository itself declares, by name of constraint.
        """
        self._table = table
        self._noun = noun.lower()
        self._declared = declared

    def for_write(self, name: str) -> ServiceError | None:
        """Return the error for an INSERT or UPDATE of one row."""
        if name in self._declared:
            return self._declared[name]()
        foreign_key = self._foreign_key(name)
        if foreign_key is not None:
            return InvalidRequest(*_missing_row(foreign_key))
        unique = self._unique(name)
        if unique is not None:
            return self._not_unique(unique.columns.keys())
        return None

    def for_delete(self, name: str) -> ServiceError | None:
        """Return the error for a DELETE of a row to which rows of a table refer."""
        if name in self._declared:
            return self._declared[name]()
        for table in self._table.metadata.tables.values():
            for foreign_key in table.foreign_key_constraints:
                if foreign_key.referred_table is self._table and has_name(foreign_key, name):
                    children = table.name.replace("_", " ")
                    return Conflict(
                        f"The {self._noun} cannot be deleted while {children} refer to it"
                    )
        return None

    async def for_batch(
        self, name: str, rows: Sequence[Row], session: Session
    ) -> ServiceError | None:
        """Return the error for an INSERT of many rows, of which `session` has undone everything.

        Takes one statement to find out which of the rows are wrong. If none is wrong any more,
        because another request has changed the database since, the error is a plain `Conflict`.
        """
        if name in self._declared:
            return self._declared[name]()
        foreign_key = self._foreign_key(name)
        if foreign_key is not None:
            missing = await _without_referred_row(foreign_key, rows, session)
            faults = [fault for index in missing for fault in _missing_row(foreign_key, index)]
            return InvalidRequest(*faults) if faults else Conflict()
        unique = self._unique(name)
        if unique is None:
            return None
        columns = unique.columns.keys()
        if unique.dialect_kwargs.get("postgresql_where") is not None:
            # Which rows the index contains is known to Postgres only.
            return self._not_unique(columns)
        duplicates = await self._duplicates(columns, rows, session)
        return self._not_unique(columns, duplicates) if duplicates else Conflict()

    def _foreign_key(self, name: str) -> sa.ForeignKeyConstraint | None:
        for constraint in self._table.foreign_key_constraints:
            if has_name(constraint, name):
                return constraint
        return None

    def _unique(self, name: str) -> UniqueConstraint | None:
        """Return the unique constraint or index of columns that has this name.

        There is none for an index on an expression such as `lower(email)`.
        """
        constraints: Iterable[UniqueConstraint] = [
            constraint
            for constraint in self._table.constraints
            if isinstance(constraint, sa.UniqueConstraint | sa.PrimaryKeyConstraint)
        ] + [index for index in self._table.indexes if index.unique and _has_only_columns(index)]
        for constraint in constraints:
            if has_name(constraint, name):
                return constraint
        return None

    def _not_unique(self, columns: Sequence[str], duplicates: Sequence[int] = ()) -> Conflict:
        detail = f"Another {self._noun} has this {' and '.join(columns)}"
        if duplicates:
            pointers = [pointer("items", index) for index in duplicates[:MAX_POINTERS]]
            detail = f"{detail}: {', '.join(pointers)}"
        return Conflict(detail)

    async def _duplicates(
        self, columns: Sequence[str], rows: Sequence[Row], session: Session
    ) -> list[int]:
        """Return the indexes of the rows whose values another row has, earlier in the batch or in
        the table."""
        values = [tuple(row.get(name) for name in columns) for row in rows]
        seen = await existing_values(self._table, columns, values, session)
        duplicates = []
        for index, value in enumerate(values):
            # NULL is not equal to NULL.
            if value in seen and None not in value:
                duplicates.append(index)
            seen.add(value)
        return duplicates


def _has_only_columns(index: sa.Index) -> bool:
    return all(isinstance(expression, sa.Column) for expression in index.expressions)


def _missing_row(foreign_key: sa.ForeignKeyConstraint, index: int | None = None) -> list[Fault]:
    """Return the faults of a row, or of an item of a batch, that refers to no row."""
    item = () if index is None else ("items", index)
    return [missing_row(name, pointer(*item, name)) for name in foreign_key.column_keys]


def missing_row(column: str, place: str) -> Fault:
    """Return the fault for a value of a column such as `author_id` to which no row belongs.

    `place` is the JSON pointer to the value in the body.
    """
    noun = column.removesuffix("_id")
    detail = f"There is no {noun.replace('_', ' ')} with this id"
    return Fault(pointer=place, code=f"{noun}_not_found", detail=detail)


async def _without_referred_row(
    foreign_key: sa.ForeignKeyConstraint, rows: Sequence[Row], session: Session
) -> list[int]:
    """Return the indexes of the rows that refer to a row that does not exist."""
    values = [tuple(row.get(name) for name in foreign_key.column_keys) for row in rows]
    names = [element.column.name for element in foreign_key.elements]
    existing = await existing_values(foreign_key.referred_table, names, values, session)
    return [
        index
        for index, value in enumerate(values)
        # A reference of which a part is NULL refers to nothing.
        if None not in value and value not in existing
    ]


async def existing_values(
    table: sa.FromClause, names: Sequence[str], values: Sequence[Values], session: Session
) -> set[Values]:
    """Return those of the values that a row of a table has in the columns with these names.

    SELECT authors.id FROM authors JOIN unnest(:ids) AS wanted (id) ON authors.id = wanted.id
    """
    columns = [table.c[name] for name in names]
    arrays = [
        sa.literal([value[position] for value in values], sa.ARRAY(column.type))
        for position, column in enumerate(columns)
    ]
    elements = [sa.column(column.name, column.type) for column in columns]
    wanted = sa.func.unnest(*arrays).table_valued(*elements).render_derived("wanted")
    is_wanted = sa.and_(*(column == wanted.c[column.name] for column in columns))
    statement = sa.select(*columns).join_from(table, wanted, is_wanted)
    rows = await session.execute(statement)
    return {tuple(row[name] for name in names) for row in rows}
