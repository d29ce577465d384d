"""A field of a read model that embeds the row to which a foreign key refers."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty

from app.core.schemas import Nested

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
# Replaces the version of an optional row that does not exist. Versions start at 1.
NO_ROW: Final = sa.literal_column("0", sa.Integer)


class EmbeddedRow:
    """The row to which a foreign key refers, for example a book's author.

    An optional row may be missing. The value of the field is then None.
    """

    def __init__(self, name: str, relationship: Relationship, nested: Nested) -> None:
        [(local, remote)] = relationship.local_remote_pairs or []
        table = relationship.mapper.local_table
        # Not `name` itself, which may be the name of another table or subquery of the statement.
        self._row = table.alias(f"{name}_row")
        self._is_own_table = table is relationship.parent.local_table
        self._foreign_key = str(local.key)
        self._referred_column = self._row.c[str(remote.key)]
        self._is_optional = nested.is_optional
        # The label of the column of each field.
        self._labels = {field: f"{name}__{field}" for field in nested.model.model_fields}
        # The label of the referred column, which is NULL if the join found no row.
        self._presence_label = f"{name}__{remote.key}"
        # The label of the foreign key, which is NULL if an optional row does not exist. No field is
        # called `_reference`, because fields of Pydantic do not begin with an underscore.
        self._reference_label = f"{name}___reference"

    def join(self, source: sa.FromClause, rows: sa.FromClause, *, outer: bool) -> sa.FromClause:
        is_outer = outer or self._is_optional
        return source.join(self._row, self._join_condition(rows), isouter=is_outer)

    def columns(self, rows: sa.FromClause) -> list[Column]:
        columns = {self._presence_label: self._referred_column}
        if self._is_optional:
            columns[self._reference_label] = rows.c[self._foreign_key]
        for field, label in self._labels.items():
            # The same column again if the referred column is a field, for example `author__id`.
            columns[label] = self._row.c[field]
        return [column.label(label) for label, column in columns.items()]

    def joined_version(self) -> Column:
        return self._zero_if_missing(self._row.c.version)

    def version_of(self, rows: sa.FromClause) -> Column:
        condition = self._join_condition(rows)
        version = sa.select(self._row.c.version).where(condition).correlate(rows)
        return self._zero_if_missing(version.scalar_subquery())

    def value(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        if row[self._presence_label] is None:
            return None
        return {field: row[label] for field, label in self._labels.items()}

    def is_missing(self, row: Mapping[str, Any]) -> bool:
        if row[self._presence_label] is None:
            return not self._is_optional or row[self._reference_label] is not None
        # A statement that writes a row which refers to itself sees it as it was before.
        return self._is_own_table and row[self._presence_label] == row["id"]

    def _join_condition(self, rows: sa.FromClause) -> sa.ColumnElement[bool]:
        return self._referred_column == rows.c[self._foreign_key]

    def _zero_if_missing(self, version: Column) -> Column:
        if not self._is_optional:
            return version
        return sa.func.coalesce(version, NO_ROW)
