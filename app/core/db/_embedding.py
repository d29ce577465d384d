"""Read models that embed rows of other tables, for example a book with its author.

A field of a read model embeds rows if its type is a model, an optional model or a list of models.
The mapped class needs a relationship of the same name:

    class Book(Entity):
        author: Mapped[Author] = relationship(lazy="raise")
        publisher: Mapped[Publisher | None] = relationship(lazy="raise")
        tags: Mapped[list[Tag]] = relationship(secondary=book_tags, lazy="raise")

    class BookRead(ReadModel):
        author: BookAuthor
        publisher: BookPublisher | None
        tags: list[BookTag]

The join, its columns, and the version of the resource follow from these declarations:

    SELECT books.id, books.title, ..., author_row.id AS author__id, author_row.name AS author__name,
        concat_ws('.', books.version, author_row.version) AS version
    FROM books JOIN authors AS author_row ON author_row.id = books.author_id

The version, and therefore the ETag, consists of the versions of all rows that are displayed. A
change of an author changes the ETags of the author's books without a write to any of them.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import RelationshipDirection

from app.core.db._declarations import (
    forbid_unversioned_changes,
    require_creation_from_field_names,
    require_fields_are_columns,
    require_foreign_key_join,
    require_same_values_in_json,
    require_supported_foreign_key,
    require_version_of_embedded_rows,
)
from app.core.db._embedded_list import EmbeddedList
from app.core.db._embedded_row import EmbeddedRow
from app.core.db._models import Base
from app.core.schemas import Nested, find_nested_models

Column = sa.ColumnElement[Any]


class EmbeddedField(Protocol):
    """A field of a read model that embeds rows."""

    def join(self, source: sa.FromClause, rows: sa.FromClause, *, outer: bool) -> sa.FromClause:
        """Join the table or subquery of the embedded rows to `source`.

        `source` is `rows` with the joins of the fields before this one. An `outer` join keeps a row
        even if the statement does not see the row to embed in it.
        """

    def columns(self, rows: sa.FromClause) -> list[Column]:
        """Return the columns to select from the join."""

    def joined_version(self) -> Column:
        """Return the embedded rows' part of the version of a resource, from the join."""

    def version_of(self, rows: sa.FromClause) -> Column:
        """Return the same part as a subquery, for the WHERE of an UPDATE or DELETE of `rows`."""

    def value(self, row: Mapping[str, Any]) -> Any:
        """Return the value of the field from a selected row."""

    def is_missing(self, row: Mapping[str, Any]) -> bool:
        """Return whether the join did not find the row to embed, or not in its current state."""


def create_embedded_fields(
    model: type[Base], read_model: type[BaseModel]
) -> dict[str, EmbeddedField]:
    """Return the fields of a read model that embed rows, by name.

    Raises `TypeError` with a sentence if the declarations do not fit together.
    """
    embeddings = {}
    for name, nested in find_nested_models(read_model).items():
        embeddings[name] = _create_embedding(model, read_model, name, nested)
        require_creation_from_field_names(nested.model)
    require_creation_from_field_names(read_model)
    forbid_unversioned_changes(model, read_model)
    return embeddings


def _create_embedding(
    model: type[Base], read_model: type[BaseModel], name: str, nested: Nested
) -> EmbeddedField:
    field = f"{read_model.__name__}.{name}"
    relationship = sa.inspect(model).relationships.get(name)
    if relationship is None:
        raise TypeError(
            f"{field} embeds a model, but {model.__name__} has no relationship of this name. Add "
            f'`{name}: Mapped[...] = relationship(lazy="raise")` to {model.__name__}.'
        )
    require_fields_are_columns(field, relationship, nested)
    require_version_of_embedded_rows(field, relationship, nested)
    require_foreign_key_join(field, relationship)
    # An embedded row needs its foreign key in the table of `model`. A one-to-one relationship with
    # the foreign key in the other table has none there, so it is read as a list.
    is_collection = (
        relationship.uselist or relationship.direction is not RelationshipDirection.MANYTOONE
    )
    if nested.is_list != is_collection:
        expected = "a list of models" if is_collection else "one model"
        raise TypeError(f"{field} has to be {expected}, as {model.__name__}.{name} is.")
    if nested.is_list:
        require_same_values_in_json(field, relationship, nested)
        return EmbeddedList(name, relationship, nested)
    require_supported_foreign_key(field, relationship, nested)
    return EmbeddedRow(name, relationship, nested)
