"""Finds the error to raise if a statement violates a constraint of the database.

The error follows from the constraint, which the mapped classes declare:

    constraint                     violated by            error
    foreign key of the table       INSERT, UPDATE         422, pointer `/author_id`
    foreign key of another table   DELETE                 409, "... while books refer to it"
    unique constraint or index     INSERT, UPDATE         409, "Another publisher has this name"

In a batch, a pointer starts with the item, for example `/items/17/author_id`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from app.core.db._missing_rows import (
    find_missing_rows_error,
    missing_row_field_errors,
    select_existing_values,
)
from app.core.db._names import matches_reported_name
from app.core.db._sessions import Row, Session
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest, ServiceError
from app.core.field_errors import json_pointer

UniqueConstraint = sa.UniqueConstraint | sa.PrimaryKeyConstraint | sa.Index
# The maximum number of JSON pointers in an error message.
MAX_POINTERS: Final = 10


@contextmanager
def explain_violations(find_error: Callable[[str], ServiceError | None]) -> Iterator[None]:
    """Replace the error of a violated constraint by one that explains it to the client.

    For example, it is `Conflict` if another publisher has the same name. `find_error` returns the
    error for the name of a constraint, or None to raise the original one.
    """
    try:
        yield
    except ConstraintViolated as violation:
        error = find_error(violation.constraint_name)
        if error is None:
            raise
        raise error from violation


class ConstraintErrorFinder:
    """Finds the error that explains to a client which constraint of a table a write has violated.

    Each method takes the name of the constraint, for example `fk_books_author_id_authors` or
    `uq_publishers_name`. It returns None if the class cannot explain the constraint, for example a
    check constraint without a declared error.
    """

    def __init__(
        self, table: sa.Table, noun: str, declared_errors: Mapping[str, Callable[[], ServiceError]]
    ) -> None:
        """Prepare to find errors for the constraints of one table.

        Args:
            table: The table to which rows are written.
            noun: The name of one of its rows in sentences, for example "Book".
            declared_errors: Maps the name of a constraint to a function that creates its error, for
                example `{"fk_books_author_id_authors": AuthorHasBooks}`. These errors take
                precedence over those that follow from the constraint.
        """
        self._table = table
        self.noun = noun.lower()
        self._declared_errors = declared_errors

    def find_write_error(self, constraint_name: str) -> ServiceError | None:
        """Return the error to raise if INSERT or UPDATE of one row violates the constraint.

        If the row refers to an author that does not exist, the error is `InvalidRequest` with a
        pointer to the field, `/author_id`. If the row is not unique, the error is `Conflict`, for
        example with the detail "Another publisher has this name". Returns None for other
        constraints, unless the repository declares an error.
        """
        if constraint_name in self._declared_errors:
            create_error = self._declared_errors[constraint_name]
            return create_error()
        foreign_key = self._find_foreign_key(constraint_name)
        if foreign_key is not None:
            return InvalidRequest(*missing_row_field_errors(foreign_key))
        unique_constraint = self._find_unique_constraint(constraint_name)
        if unique_constraint is not None:
            return self._build_duplicate_error(unique_constraint.columns.keys())
        return None

    def find_delete_error(self, constraint_name: str) -> ServiceError | None:
        """Return the error to raise if a row cannot be deleted because other rows refer to it.

        The deletion of a publisher violates a foreign key of the table `books`, whose name is
        `constraint_name`. The error is a `Conflict` with the detail "The publisher cannot be
        deleted while books refer to it". Returns None if the constraint is not such a foreign key.
        """
        if constraint_name in self._declared_errors:
            create_error = self._declared_errors[constraint_name]
            return create_error()
        foreign_key = self.find_referring_key(constraint_name)
        if foreign_key is None:
            return None
        referring_rows = foreign_key.table.name.replace("_", " ")
        return Conflict(f"The {self.noun} cannot be deleted while {referring_rows} refer to it")

    def find_referring_key(self, constraint_name: str) -> sa.ForeignKeyConstraint | None:
        """Return the foreign key with this name, if it refers to the table from any table.

        The table `publishers` and the name `fk_books_publisher_id_publishers` result in the foreign
        key of `books`. Returns None if no table has such a foreign key.
        """
        for referring_table in self._table.metadata.tables.values():
            for foreign_key in referring_table.foreign_key_constraints:
                refers_to_this_table = foreign_key.referred_table is self._table
                if refers_to_this_table and matches_reported_name(foreign_key, constraint_name):
                    return foreign_key
        return None

    async def find_batch_error(
        self, constraint_name: str, rows: Sequence[Row], session: Session
    ) -> ServiceError | None:
        """Return the error to raise if an INSERT of several rows violates the constraint.

        Postgres does not report which of the rows violate it, so this method finds them with a
        SELECT after the INSERT was rolled back. The error contains pointers to these rows, for
        example `/items/17/author_id`.

        Another request may have changed the database since, so that the rows no longer violate the
        constraint. The error is then a `Conflict` without pointers, and the client can retry.

        Returns None if the constraint is neither a foreign key nor a unique constraint, and the
        repository does not declare an error for it.
        """
        if constraint_name in self._declared_errors:
            create_error = self._declared_errors[constraint_name]
            return create_error()
        foreign_key = self._find_foreign_key(constraint_name)
        if foreign_key is not None:
            return await find_missing_rows_error(foreign_key, rows, session)
        unique_constraint = self._find_unique_constraint(constraint_name)
        if unique_constraint is not None:
            return await self._find_duplicates_error(unique_constraint, rows, session)
        return None

    def _find_foreign_key(self, constraint_name: str) -> sa.ForeignKeyConstraint | None:
        """Return the foreign key of the table with this name, or None if it does not exist."""
        for constraint in self._table.foreign_key_constraints:
            if matches_reported_name(constraint, constraint_name):
                return constraint
        return None

    def _find_unique_constraint(self, constraint_name: str) -> UniqueConstraint | None:
        """Return the unique constraint, primary key or unique index with this name.

        Returns None if it does not exist, or if it is an index on an expression such as
        `lower(email)`. The error would name the columns whose values are not unique, and an
        expression is not a column.
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

    def _build_duplicate_error(
        self, column_names: Sequence[str], duplicate_positions: Sequence[int] = ()
    ) -> Conflict:
        """Return the error for rows whose values in these columns are not unique.

        The detail of the error is, for example, "Another publisher has this name". The detail for
        a batch also lists the duplicates: "Another publisher has this name: /items/1, /items/4".
        Their positions in the batch are `duplicate_positions`, here `[1, 4]`. At most MAX_POINTERS
        of them are listed.
        """
        detail = f"Another {self.noun} has this {' and '.join(column_names)}"
        if duplicate_positions:
            listed_positions = duplicate_positions[:MAX_POINTERS]
            pointers = [json_pointer("items", position) for position in listed_positions]
            detail = f"{detail}: {', '.join(pointers)}"
        return Conflict(detail)

    async def _find_duplicates_error(
        self, unique_constraint: UniqueConstraint, rows: Sequence[Row], session: Session
    ) -> Conflict:
        """Return the error for a batch of rows, some of which violate a unique constraint.

        Its detail lists the duplicates: "Another publisher has this name: /items/1, /items/4". If
        the rows are unique by now, because another request has changed the table, the error is a
        `Conflict` without details, and the client can retry.
        """
        column_names = unique_constraint.columns.keys()
        is_partial_index = unique_constraint.dialect_kwargs.get("postgresql_where") is not None
        if is_partial_index:
            # Only Postgres knows which rows a partial index contains, so the error lists none.
            return self._build_duplicate_error(column_names)
        duplicate_positions = await self._find_duplicate_positions(column_names, rows, session)
        if not duplicate_positions:
            return Conflict()
        return self._build_duplicate_error(column_names, duplicate_positions)

    async def _find_duplicate_positions(
        self, column_names: Sequence[str], rows: Sequence[Row], session: Session
    ) -> list[int]:
        """Return the positions of those rows of a batch that would not be unique in the table.

        A row is a duplicate if the table, or an earlier row of the batch, has the same values in
        the columns. The result for `[{"name": "Virago"}, {"name": "Virago"}]` is `[1]`, or `[0, 1]`
        if the table already contains "Virago".
        """
        values_of_rows = [tuple(row.get(name) for name in column_names) for row in rows]
        seen_values = await select_existing_values(
            self._table, column_names, values_of_rows, session
        )
        duplicate_positions = []
        for position, values in enumerate(values_of_rows):
            # Unique constraints treat NULLs as different from each other.
            if values in seen_values and None not in values:
                duplicate_positions.append(position)
            seen_values.add(values)
        return duplicate_positions
