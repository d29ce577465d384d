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

    For `BookRead`, which embeds the author of a book, `select(books)` is

        SELECT books.id, books.title, ...,
            concat_ws('.', books.version, author_row.version) AS version,
            author_row.id AS author__id, author_row.name AS author__name, ...
        FROM books JOIN authors AS author_row ON author_row.id = books.author_id
    """

    def __init__(
        self, model: type[Base], read_model: type[BaseModel], other_fields: frozenset[str]
    ) -> None:
        """Create the selection.

        Args:
            model: The mapped class of the table.
            read_model: The Pydantic model whose fields are selected.
            other_fields: The fields that are neither columns nor embedded, such as those that
                `ListStatements.add_other_fields` selects.

        Raises `TypeError` with a sentence if the read model does not fit the table.
        """
        self._embeddings = create_embedded_fields(model, read_model)
        self.columns = [
            name
            for name in read_model.model_fields
            if name not in self._embeddings and name not in other_fields
        ]
        for name in self.columns:
            if name not in model.__table__.c:
                raise TypeError(
                    f"{read_model.__name__}.{name} is not a column of {model.__tablename__}. Add "
                    f"the column to {model.__name__}, or the field to `other_fields`."
                )
        self._check_labels(model, read_model)

    def select(self, rows: sa.FromClause, *, outer: bool = False) -> sa.Select[Any]:
        """Select from `rows`, which is the table or a subquery of it, such as a CTE.

        With `outer`, a row is selected even if the statement does not see the row to embed in it.
        """
        source = rows
        columns = [self._column(rows, name) for name in self.columns]
        for embedding in self._embeddings.values():
            source = embedding.join(source, rows, outer=outer)
            columns += embedding.columns(rows)
        return sa.select(*columns).select_from(source)

    def version(self, table: sa.Table) -> Column:
        """Return the version of the rows of a table, for example `4.2` for a book.

        It needs no join, so it fits into the WHERE of an UPDATE or DELETE:

        concat_ws('.', books.version,
            (SELECT author_row.version FROM authors AS author_row
             WHERE author_row.id = books.author_id))
        """
        embedded = [embedding.version_of(table) for embedding in self._embeddings.values()]
        return _format_version(table.c.version, embedded)

    def values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the fields: `author__id` and `author__name` become `author`.

        The result still contains the columns of the join, which read models ignore.
        """
        values = dict(row)
        for name, embedding in self._embeddings.items():
            values[name] = embedding.value(row)
        return values

    def is_incomplete(self, row: Mapping[str, Any]) -> bool:
        """Return whether an outer selection did not see a row that has to be embedded."""
        return any(embedding.is_missing(row) for embedding in self._embeddings.values())

    def _check_labels(self, model: type[Base], read_model: type[BaseModel]) -> None:
        labels = list(self.columns)
        for embedding in self._embeddings.values():
            labels += [column.name for column in embedding.columns(model.__table__)]
        for label in labels:
            if labels.count(label) > 1:
                raise TypeError(
                    f"{read_model.__name__} needs two columns with the name {label}, of which one "
                    "is that of an embedded row. Rename one of the fields."
                )

    def _column(self, rows: sa.FromClause, name: str) -> Column:
        if name != "version":
            return rows.c[name]
        embedded = [embedding.joined_version() for embedding in self._embeddings.values()]
        return _format_version(rows.c.version, embedded).label(name)


def _format_version(own_version: Column, embedded: list[Column]) -> Column:
    """Return a version as text: `4`, or `4.2` with an embedded row of version 2."""
    if not embedded:
        return sa.cast(own_version, sa.Text)
    dot = sa.literal_column("'.'", sa.Text)
    return sa.func.concat_ws(dot, own_version, *embedded, type_=sa.Text)
