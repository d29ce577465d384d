"""Embedded rows: a book that is read from the database contains its author."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty

from app.core.db._json_items import build_json_object, has_json_fields
from app.core.nested_models import NestedModel

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
# The version of an optional row that does not exist. Versions of rows start at 1.
NO_ROW_VERSION: Final = sa.literal_column("0", sa.Integer)


class EmbeddedRow:
    """A field that contains one row of another table, such as the author of a book.

    The statement that reads a book also joins its author:

        SELECT books.id, ..., author_row.id AS author__id, author_row.name AS author__name
        FROM books JOIN authors AS author_row ON author_row.id = books.author_id

    `read_value` converts the columns whose names begin with `author__` to the value of the field,
    for example `{"id": 7, "name": "Ada"}`. If the field is optional, the row may not exist. The
    value of the field is then None.
    """

    def __init__(
        self, field_name: str, relationship: Relationship, nested_model: NestedModel
    ) -> None:
        """Prepare the join, and the names under which its columns are selected.

        Args:
            field_name: The name of the field and of the relationship, for example "author".
            relationship: The relationship of the mapped class, with a foreign key of one column.
            nested_model: The type of the field: the model of the row, and whether it is optional.
        """
        # The columns of `Book.author` are `books.author_id` and `authors.id`.
        [(foreign_key, referred_column)] = relationship.local_remote_pairs or []
        table = relationship.mapper.local_table
        # The alias is not `author`, because another table of the statement may have this name.
        self._joined_table = table.alias(f"{field_name}_row")
        self._refers_to_own_table = table is relationship.parent.local_table
        self._foreign_key_name = str(foreign_key.key)
        self._referred_column = self._joined_table.c[str(referred_column.key)]
        self._is_optional = nested_model.is_optional
        self._model = nested_model.model
        # The alias of each selected column, for example `{"name": "author__name"}`.
        self._aliases_by_column = {
            column_name: f"{field_name}__{column_name}"
            for column_name in nested_model.model.model_fields
        }
        # The alias of the referred column. Its value is NULL if the join did not find a row.
        self._referred_alias = f"{field_name}__{referred_column.key}"
        # The alias of the foreign key, for example `author___reference`. A field cannot have this
        # alias, because the names of Pydantic fields do not begin with `_`.
        self._foreign_key_alias = f"{field_name}___reference"

    def join_to(
        self, from_clause: sa.FromClause, source: sa.FromClause, *, use_outer_join: bool
    ) -> sa.FromClause:
        """Join the table of the embedded row to a FROM clause, and return the new FROM clause.

        The result is `books JOIN authors AS author_row ON author_row.id = books.author_id`.
        """
        is_outer_join = use_outer_join or self._is_optional
        condition = self._join_condition(source)
        return from_clause.join(self._joined_table, condition, isouter=is_outer_join)

    def selected_columns(self, source: sa.FromClause) -> list[Column]:
        """Return the columns to select from the join, such as `author_row.name AS author__name`.

        If a book may have no author, they include its foreign key, under the alias
        `author___reference`. It shows whether the book has no author, or whether it has one that
        the statement could not see.
        """
        columns_by_alias = {self._referred_alias: self._referred_column}
        if self._is_optional:
            columns_by_alias[self._foreign_key_alias] = source.c[self._foreign_key_name]
        for column_name, alias in self._aliases_by_column.items():
            # If the referred column is also a field, such as `author__id`, this replaces its entry.
            columns_by_alias[alias] = self._joined_table.c[column_name]
        return [column.label(alias) for alias, column in columns_by_alias.items()]

    def version_from_join(self) -> Column:
        """Return the SQL expression for the version of the embedded row: `author_row.version`.

        Its value is 0 if the row is optional and does not exist.
        """
        return self._zero_if_no_row(self._joined_table.c.version)

    def version_from_subquery(self, source: sa.FromClause) -> Column:
        """Return a subquery that selects the version of the embedded row.

        An UPDATE of a book does not join the author. It reads the author's version by a subquery:

            (SELECT author_row.version FROM authors AS author_row
             WHERE author_row.id = books.author_id)
        """
        is_embedded_row = self._join_condition(source)
        version = sa.select(self._joined_table.c.version).where(is_embedded_row)
        # `correlate` keeps `books`, the table of the outer statement, out of the subquery's FROM.
        return self._zero_if_no_row(version.correlate(source).scalar_subquery())

    def read_value(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the value of the field from a selected row, or None if the join found no row.

        `{"author__id": 7, "author__name": "Ada"}` becomes `{"id": 7, "name": "Ada"}`.
        """
        if row[self._referred_alias] is None:
            return None
        return {name: row[alias] for name, alias in self._aliases_by_column.items()}

    def json_value(self, columns: Mapping[str, Column]) -> Column | None:
        """Return the SQL expression for the value of the field as JSON, from selected columns.

        It is `json_build_object('id', author_row.id, 'name', author_row.name)`. Returns None if the
        model has to be created from columns (see `_json_items.py`).
        """
        table = self._joined_table
        columns_by_name: dict[str, Column] = {
            name: table.c[name] for name in self._aliases_by_column
        }
        if not has_json_fields(self._model, columns_by_name):
            return None
        values = {name: columns[alias] for name, alias in self._aliases_by_column.items()}
        json_object = build_json_object(values)
        if not self._is_optional:
            return json_object
        return sa.case((columns[self._referred_alias].is_not(None), json_object))

    def must_be_read_again(self, row: Mapping[str, Any]) -> bool:
        """Return whether an INSERT or UPDATE returned a row without its current embedded row.

        Such a statement sees the other rows as they were when it started. An INSERT of a book does
        not find an author whom another transaction has created since. If a row embeds itself, such
        as an employee who is their own manager, an UPDATE returns its old values as the manager.
        """
        embedded_key = row[self._referred_alias]
        if embedded_key is not None:
            # The embedded row was returned. It is outdated only if it is the written row itself.
            return self._refers_to_own_table and embedded_key == row["id"]
        if self._is_optional:
            # If the foreign key is NULL, there is nothing to embed. Otherwise, the embedded row
            # exists, but the statement could not see it.
            return row[self._foreign_key_alias] is not None
        # The embedded row exists, because the field is not optional, but the statement could not
        # see it.
        return True

    def _join_condition(self, source: sa.FromClause) -> sa.ColumnElement[bool]:
        """Return the condition of the join, for example `author_row.id = books.author_id`."""
        return self._referred_column == source.c[self._foreign_key_name]

    def _zero_if_no_row(self, version: Column) -> Column:
        """Return `coalesce(version, 0)` if the row is optional, and otherwise `version`."""
        if not self._is_optional:
            return version
        return sa.func.coalesce(version, NO_ROW_VERSION)
