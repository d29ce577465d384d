"""A read model's field that embeds the row to which a foreign key refers."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty

from app.core.schemas import Nested

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
# What stands in a version for an optional row that does not exist.
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
        self._foreign_key = str(local.key)
        self._referred_column = self._row.c[str(remote.key)]
        self._is_optional = nested.is_optional
        # The label of the column of each field.
        self._labels = {field: f"{name}__{field}" for field in nested.model.model_fields}
        # NULL in this column means that the row was not found.
        self._presence = f"{name}__{remote.key}"
        # NULL in this column means that an optional row does not exist. No field has the name
        # `_reference`, because Pydantic's fields do not begin with an underscore.
        self._reference = f"{name}___reference"

    def join(self, source: sa.FromClause, rows: sa.FromClause, *, outer: bool) -> sa.FromClause:
        is_outer = outer or self._is_optional
        return source.join(self._row, self._is_referred_to_by(rows), isouter=is_outer)

    def columns(self, rows: sa.FromClause) -> list[Column]:
        columns = {self._presence: self._referred_column}
        if self._is_optional:
            columns[self._reference] = rows.c[self._foreign_key]
        for field, label in self._labels.items():
            columns[label] = self._row.c[field]
        return [column.label(label) for label, column in columns.items()]

    def joined_version(self) -> Column:
        return self._or_no_row(self._row.c.version)

    def version_of(self, rows: sa.FromClause) -> Column:
        condition = self._is_referred_to_by(rows)
        version = sa.select(self._row.c.version).where(condition).correlate(rows)
        return self._or_no_row(version.scalar_subquery())

    def value(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        if row[self._presence] is None:
            return None
        return {field: row[label] for field, label in self._labels.items()}

    def is_missing(self, row: Mapping[str, Any]) -> bool:
        if row[self._presence] is not None:
            return False
        return not self._is_optional or row[self._reference] is not None

    def _is_referred_to_by(self, rows: sa.FromClause) -> sa.ColumnElement[bool]:
        return self._referred_column == rows.c[self._foreign_key]

    def _or_no_row(self, version: Column) -> Column:
        return sa.func.coalesce(version, NO_ROW) if self._is_optional else version
