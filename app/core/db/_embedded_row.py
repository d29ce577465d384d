"""A field of a read model that contains one row of another table."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty

from app.core.nested_models import NestedModel

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
# Replaces the version of an optional row that does not exist. Versions start at 1.
NO_ROW: Final = sa.literal_column("0", sa.Integer)


class EmbeddedRow:
    """A field that contains the row to which a foreign key refers, such as the author of a book.

    It joins the other table, selects the fields of the row under aliases that begin with the name
    of the field, and converts them back to one value, `{"id": ..., "name": ...}`:

        SELECT books.id, ..., author_row.id AS author__id, author_row.name AS author__name
        FROM books JOIN authors AS author_row ON author_row.id = books.author_id

    If the field is optional, the row may not exist. The value of the field is then None.
    """

    def __init__(self, field_name: str, relationship: Relationship, nested: NestedModel) -> None:
        """Prepare the columns of the join.

        Args:
            field_name: The name of the field and of the relationship, for example "author".
            relationship: The relationship of the mapped class, with a foreign key of one column.
            nested: The type of the field: the model of the row, and whether it is optional.
        """
        [(foreign_key, referred_column)] = relationship.local_remote_pairs or []
        table = relationship.mapper.local_table
        # Not only `author`, which may be the name of another table or subquery of the statement.
        self._joined_table = table.alias(f"{field_name}_row")
        self._refers_to_own_table = table is relationship.parent.local_table
        self._foreign_key_name = str(foreign_key.key)
        self._referred_column = self._joined_table.c[str(referred_column.key)]
        self._is_optional = nested.is_optional
        # The alias of each column in the SELECT: `{"id": "author__id", "name": "author__name"}`.
        self._aliases = {name: f"{field_name}__{name}" for name in nested.model.model_fields}
        # The referred column, which is NULL if the join did not find a row.
        self._referred_alias = f"{field_name}__{referred_column.key}"
        # The foreign key, which is NULL if an optional row does not exist. This cannot be the alias
        # of a field, because Pydantic does not allow a field with the name `_reference`.
        self._foreign_key_alias = f"{field_name}___reference"

    def join_to(
        self, from_clause: sa.FromClause, source: sa.FromClause, *, keep_incomplete: bool
    ) -> sa.FromClause:
        """Add `JOIN authors AS author_row ON author_row.id = books.author_id` to a FROM clause."""
        is_outer_join = keep_incomplete or self._is_optional
        condition = self._join_condition(source)
        return from_clause.join(self._joined_table, condition, isouter=is_outer_join)

    def selected_columns(self, source: sa.FromClause) -> list[Column]:
        """Return the columns that `read_value` and `is_incomplete` need, each with its alias."""
        columns = {self._referred_alias: self._referred_column}
        if self._is_optional:
            columns[self._foreign_key_alias] = source.c[self._foreign_key_name]
        for name, alias in self._aliases.items():
            # If the referred column is also a field, such as `author__id`, this is the same entry.
            columns[alias] = self._joined_table.c[name]
        return [column.label(alias) for alias, column in columns.items()]

    def version_from_join(self) -> Column:
        """Return the version of the embedded row, `author_row.version`, or 0 without a row."""
        return self._zero_if_no_row(self._joined_table.c.version)

    def version_from_subquery(self, source: sa.FromClause) -> Column:
        """Return the version of the embedded row without a join.

        (SELECT author_row.version FROM authors AS author_row
         WHERE author_row.id = books.author_id)
        """
        condition = self._join_condition(source)
        version = sa.select(self._joined_table.c.version).where(condition).correlate(source)
        return self._zero_if_no_row(version.scalar_subquery())

    def read_value(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the value of the field from a selected row, or None if the join found no row.

        `{"author__id": 7, "author__name": "Ada"}` becomes `{"id": 7, "name": "Ada"}`.
        """
        if row[self._referred_alias] is None:
            return None
        return {name: row[alias] for name, alias in self._aliases.items()}

    def is_incomplete(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row that a statement has written must be read again.

        The join of such a statement sees the database as it was before the write. It does not find
        a row that another transaction has created since, and it finds the old state of a row that
        refers to itself.
        """
        join_found_row = row[self._referred_alias] is not None
        if not join_found_row:
            # A row that is not optional always has a foreign key.
            return not self._is_optional or row[self._foreign_key_alias] is not None
        return self._refers_to_own_table and row[self._referred_alias] == row["id"]

    def _join_condition(self, source: sa.FromClause) -> sa.ColumnElement[bool]:
        """Return the condition of the join, for example `author_row.id = books.author_id`."""
        return self._referred_column == source.c[self._foreign_key_name]

    def _zero_if_no_row(self, version: Column) -> Column:
        """Return `coalesce(version, 0)` if the row may not exist, and otherwise the version."""
        if not self._is_optional:
            return version
        return sa.func.coalesce(version, NO_ROW)
