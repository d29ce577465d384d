"""The columns of a read model: those of its own table and those of the rows that it embeds."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from app.core.db._embedding import create_embedded_fields
from app.core.db._json_items import build_json_object, has_json_fields, select_items_as_json
from app.core.db._models import Base

Column = sa.ColumnElement[Any]


class Selection:
    """Selects the columns of a read model from its table and from the tables of embedded rows.

    A book embeds its author, so `select(books)` returns for `BookRead`

        SELECT books.id, books.title, ...,
            concat_ws('.', books.version, author_row.version) AS version,
            author_row.id AS author__id, author_row.name AS author__name, ...
        FROM books JOIN authors AS author_row ON author_row.id = books.author_id

    `to_field_values` converts a selected row to the values of the fields of the read model.
    """

    def __init__(
        self, model: type[Base], read_model: type[BaseModel], other_fields: frozenset[str]
    ) -> None:
        """Determine which fields of the read model are columns, and which embed other rows.

        Args:
            model: The mapped class of the table.
            read_model: The Pydantic model whose fields are selected.
            other_fields: The fields that are neither columns of the table nor embedded rows. The
                caller adds them.

        Raises `TypeError` with an explanation if the read model does not fit the table.
        """
        self._model = model
        self.read_model = read_model
        self._has_other_fields = bool(other_fields)
        self._embedded_fields = create_embedded_fields(model, read_model)
        self.column_names = [
            field_name
            for field_name in read_model.model_fields
            if field_name not in self._embedded_fields and field_name not in other_fields
        ]
        self._require_columns(model, read_model)
        self._require_unique_column_names(model, read_model)

    def select(self, source: sa.FromClause, *, use_outer_joins: bool = False) -> sa.Select[Any]:
        """Return a query of the columns of the read model, which joins the embedded rows.

        The query of books also selects the columns of their authors, such as `author__name`.

        Args:
            source: The table of the read model, or a subquery or CTE with its columns.
            use_outer_joins: Whether to return a book even if the statement cannot see its author,
                because another transaction created the author after the statement started.
        """
        columns = [self._selected_column(source, name) for name in self.column_names]
        from_clause = source
        for embedded_field in self._embedded_fields.values():
            columns += embedded_field.selected_columns(source)
            from_clause = embedded_field.join_to(
                from_clause, source, use_outer_join=use_outer_joins
            )
        return sa.select(*columns).select_from(from_clause)

    def version_without_join(self, table: sa.Table) -> Column:
        """Return the SQL expression for the version of a row, with subqueries instead of joins.

        UPDATE and DELETE need it in their WHERE clause, because they do not join embedded rows.

        The version of a book includes the version of its author, for example `4.2`. Its expression:

            concat_ws('.', books.version,
                (SELECT author_row.version FROM authors AS author_row
                 WHERE author_row.id = books.author_id))
        """
        embedded_versions = [
            embedded_field.version_from_subquery(table)
            for embedded_field in self._embedded_fields.values()
        ]
        return _join_versions(table.c.version, embedded_versions)

    def to_field_values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Add the values of embedded rows, such as the author of a book, to a selected row.

        The row `{"id": 1, "author__id": 7, "author__name": "Ada"}` gets one more entry,
        `"author": {"id": 7, "name": "Ada"}`. The read model can then be created from it. Pydantic
        ignores the entries that are not fields, such as `author__id`.
        """
        values_by_field = dict(row)
        for field_name, embedded_field in self._embedded_fields.items():
            values_by_field[field_name] = embedded_field.read_value(row)
        return values_by_field

    def select_as_json(
        self, statement: sa.Select[Any], kept_columns: frozenset[str]
    ) -> sa.Select[Any]:
        """Return a statement that selects each item as JSON, in place of the columns of `select`.

        It also selects `kept_columns`. Returns the statement unchanged if the read model has to be
        created from columns (see `_json_items.py`).
        """
        table_columns: dict[str, Column] = {
            name: self._model.__table__.c[name] for name in self.column_names
        }
        # Statements select the number of a version as text.
        table_columns.pop("version", None)
        if self._has_other_fields or not has_json_fields(self.read_model, table_columns):
            return statement
        columns = {str(column.key): column for column in statement.selected_columns}
        values: dict[str, Column] = {name: columns[name] for name in self.column_names}
        for field_name, embedded_field in self._embedded_fields.items():
            value = embedded_field.json_value(columns)
            if value is None:
                return statement
            values[field_name] = value
        replaced_columns = [
            column.key
            for column in self.select(self._model.__table__).selected_columns
            if column.key not in kept_columns
        ]
        return select_items_as_json(statement, build_json_object(values), replaced_columns)

    def must_be_read_again(self, row: Mapping[str, Any]) -> bool:
        """Return whether an INSERT or UPDATE returned a row without its current embedded rows.

        Such a statement sees the other rows as they were when it started. If another transaction
        creates an author after that, the INSERT of a book returns the book without this author.
        """
        embedded_fields = self._embedded_fields.values()
        return any(embedded_field.must_be_read_again(row) for embedded_field in embedded_fields)

    def _require_columns(self, model: type[Base], read_model: type[BaseModel]) -> None:
        """Raise `TypeError` if one of `column_names` is not a column of the table."""
        for column_name in self.column_names:
            if column_name not in model.__table__.c:
                raise TypeError(
                    f"{read_model.__name__}.{column_name} is not a column of "
                    f"{model.__tablename__}. Add the column to {model.__name__}, or the field to "
                    "`other_fields`."
                )

    def _require_unique_column_names(self, model: type[Base], read_model: type[BaseModel]) -> None:
        """Raise `TypeError` if two columns of the SELECT statement would have the same name.

        The name of a book's author is selected as `author__name`. Therefore, the read model must
        not also have a field with the name `author__name`.
        """
        selected_names = list(self.column_names)
        for embedded_field in self._embedded_fields.values():
            embedded_columns = embedded_field.selected_columns(model.__table__)
            selected_names += [column.name for column in embedded_columns]
        for name in selected_names:
            if selected_names.count(name) > 1:
                raise TypeError(
                    f"{read_model.__name__} needs two columns with the name {name}, and one of "
                    "them belongs to an embedded row. Rename one of the fields."
                )

    def _selected_column(self, source: sa.FromClause, column_name: str) -> Column:
        """Return the SQL expression to select for a field that is a column, such as `books.title`.

        The field `version` is an exception: it combines the version of the row with those of its
        embedded rows, for example `4.2` for a book with version 4 whose author has version 2.
        """
        if column_name != "version":
            return source.c[column_name]
        embedded_versions = [
            embedded_field.version_from_join() for embedded_field in self._embedded_fields.values()
        ]
        return _join_versions(source.c.version, embedded_versions).label("version")


def _join_versions(own_version: Column, embedded_versions: list[Column]) -> Column:
    """Return the SQL expression that combines the versions of a row and of its embedded rows.

    The version of a book and its author, `concat_ws('.', books.version, author_row.version)`, has
    a value such as `4.2`. The version of a row without embedded rows is text as well, such as `4`.
    """
    if not embedded_versions:
        return sa.cast(own_version, sa.Text)
    dot = sa.literal_column("'.'", sa.Text)
    return sa.func.concat_ws(dot, own_version, *embedded_versions, type_=sa.Text)
