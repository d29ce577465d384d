"""The columns of a read model: those of its own table and those of the rows that it embeds."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from app.core.db._embedding import create_embedded_fields
from app.core.db._models import Base

Column = sa.ColumnElement[Any]


class Selection:
    """Selects the rows of a read model, and converts them to the values of its fields.

    For `BookRead`, which embeds the author of a book, `select(books)` returns

        SELECT books.id, books.title, ...,
            concat_ws('.', books.version, author_row.version) AS version,
            author_row.id AS author__id, author_row.name AS author__name, ...
        FROM books JOIN authors AS author_row ON author_row.id = books.author_id
    """

    def __init__(
        self, model: type[Base], read_model: type[BaseModel], other_fields: frozenset[str]
    ) -> None:
        """Determine the columns of the read model.

        Args:
            model: The mapped class of the table.
            read_model: The Pydantic model whose fields are selected.
            other_fields: The fields that are neither columns nor embedded, such as those that
                `ListStatements.add_other_fields` selects.

        Raises `TypeError` with an explanation if the read model does not fit the table.
        """
        self._embedded_fields = create_embedded_fields(model, read_model)
        self.column_names = [
            name
            for name in read_model.model_fields
            if name not in self._embedded_fields and name not in other_fields
        ]
        for name in self.column_names:
            if name not in model.__table__.c:
                raise TypeError(
                    f"{read_model.__name__}.{name} is not a column of {model.__tablename__}. Add "
                    f"the column to {model.__name__}, or the field to `other_fields`."
                )
        self._require_unique_column_names(model, read_model)

    def select(self, source: sa.FromClause, *, keep_incomplete: bool = False) -> sa.Select[Any]:
        """Select the fields of the read model from the table, a subquery or a CTE.

        With `keep_incomplete`, a row is returned even if the row to embed in it is not visible to
        the statement.
        """
        from_clause = source
        columns = [self._column(source, name) for name in self.column_names]
        for embedded_field in self._embedded_fields.values():
            from_clause = embedded_field.join_to(
                from_clause, source, keep_incomplete=keep_incomplete
            )
            columns += embedded_field.selected_columns(source)
        return sa.select(*columns).select_from(from_clause)

    def version_without_join(self, table: sa.Table) -> Column:
        """Return the expression for the version of a row, which is `4.2` for a book.

        It needs no join, so it fits into the WHERE of an UPDATE or DELETE:

            concat_ws('.', books.version,
                (SELECT author_row.version FROM authors AS author_row
                 WHERE author_row.id = books.author_id))
        """
        embedded_versions = [
            embedded_field.version_from_subquery(table)
            for embedded_field in self._embedded_fields.values()
        ]
        return _join_versions(table.c.version, embedded_versions)

    def field_values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the fields: `author__id` and `author__name` become `author`.

        The result still contains the columns of the join, which read models ignore.
        """
        values = dict(row)
        for name, embedded_field in self._embedded_fields.items():
            values[name] = embedded_field.read_value(row)
        return values

    def is_incomplete(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row that a statement has written and selected must be read again.

        It lacks the current state of a row to embed in it if that row was not visible to the
        statement.
        """
        fields = self._embedded_fields.values()
        return any(embedded_field.is_incomplete(row) for embedded_field in fields)

    def _require_unique_column_names(self, model: type[Base], read_model: type[BaseModel]) -> None:
        """Raise `TypeError` if a field has the name of a column of an embedded row.

        For example, a field `author__name` next to an embedded `author` with a `name`.
        """
        names = list(self.column_names)
        for embedded_field in self._embedded_fields.values():
            names += [column.name for column in embedded_field.selected_columns(model.__table__)]
        for name in names:
            if names.count(name) > 1:
                raise TypeError(
                    f"{read_model.__name__} needs two columns with the name {name}, one of them "
                    "for an embedded row. Rename one of the fields."
                )

    def _column(self, source: sa.FromClause, name: str) -> Column:
        """Return the column of `source` with this name.

        The column `version` also contains the versions of the embedded rows, for example `4.2`.
        """
        if name != "version":
            return source.c[name]
        embedded_versions = [
            embedded_field.version_from_join() for embedded_field in self._embedded_fields.values()
        ]
        return _join_versions(source.c.version, embedded_versions).label(name)


def _join_versions(own_version: Column, embedded_versions: list[Column]) -> Column:
    """Return the expression for the version of a row and of the rows that are embedded in it.

    `concat_ws('.', books.version, author_row.version)`, for example `4.2`. Without embedded rows,
    it is the row's own version as text, for example `4`.
    """
    if not embedded_versions:
        return sa.cast(own_version, sa.Text)
    dot = sa.literal_column("'.'", sa.Text)
    return sa.func.concat_ws(dot, own_version, *embedded_versions, type_=sa.Text)
