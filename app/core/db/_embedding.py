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
    forbid_converted_types_in_list,
    forbid_unversioned_changes,
    forbid_validation_aliases,
    require_columns_for_fields,
    require_foreign_key_join,
    require_supported_foreign_key,
    require_version_of_embedded_rows,
)
from app.core.db._embedded_list import EmbeddedList
from app.core.db._embedded_row import EmbeddedRow
from app.core.db._models import Base
from app.core.nested_models import NestedModel, find_nested_models

Column = sa.ColumnElement[Any]


class EmbeddedField(Protocol):
    """A field of a read model that contains one row or a list of rows of another table.

    `source` is the table of the read model, or a subquery with its columns, for example `books`.
    """

    def join_to(
        self, from_clause: sa.FromClause, source: sa.FromClause, *, keep_incomplete: bool
    ) -> sa.FromClause:
        """Join the embedded rows to a FROM clause, and return the new FROM clause.

        Args:
            from_clause: `source` with the joins of other fields.
            source: The table of the read model, or a subquery with its columns.
            keep_incomplete: Whether to keep a row of `source` if the row to embed in it is not
                visible to the statement.
        """

    def selected_columns(self, source: sa.FromClause) -> list[Column]:
        """Return the columns to select from the join."""

    def version_from_join(self) -> Column:
        """Return the embedded rows' part of the version of a resource, from the join."""

    def version_from_subquery(self, source: sa.FromClause) -> Column:
        """Return the same part without a join, for the WHERE of an UPDATE or DELETE."""

    def read_value(self, row: Mapping[str, Any]) -> Any:
        """Return the value of the field from a selected row."""

    def is_incomplete(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row that a statement has written must be read again.

        The row to embed in it was not visible to the statement, or only its old state was.
        """


def create_embedded_fields(
    model: type[Base], read_model: type[BaseModel]
) -> dict[str, EmbeddedField]:
    """Return the fields of a read model that embed rows, by name.

    Raises `TypeError` with an explanation if such a field does not fit the mapped class `model`.
    """
    embedded_fields = {}
    for field_name, nested in find_nested_models(read_model).items():
        embedded_fields[field_name] = _create_embedded_field(model, read_model, field_name, nested)
        forbid_validation_aliases(nested.model)
    forbid_validation_aliases(read_model)
    forbid_unversioned_changes(model, read_model)
    return embedded_fields


def _create_embedded_field(
    model: type[Base], read_model: type[BaseModel], field_name: str, nested: NestedModel
) -> EmbeddedField:
    """Create the field from the relationship of the mapped class that has its name.

    A collection, such as `Book.tags`, becomes an `EmbeddedList`, and a single row, such as
    `Book.author`, becomes an `EmbeddedRow`.

    Raises `TypeError` with an explanation if there is no such relationship, if the type of the
    field does not fit it, or if a condition or column of it is not supported.
    """
    field = f"{read_model.__name__}.{field_name}"
    relationship = sa.inspect(model).relationships.get(field_name)
    if relationship is None:
        raise TypeError(
            f"{field} embeds a model, but {model.__name__} has no relationship of this name. Add "
            f'`{field_name}: Mapped[...] = relationship(lazy="raise")` to {model.__name__}.'
        )
    require_columns_for_fields(field, relationship, nested)
    require_version_of_embedded_rows(field, relationship, nested)
    require_foreign_key_join(field, relationship)
    # A one-to-one relationship with the foreign key in the other table also counts as a collection,
    # because only a foreign key in the table of `model` shows whether there is a row to embed.
    has_own_foreign_key = relationship.direction is RelationshipDirection.MANYTOONE
    is_collection = relationship.uselist or not has_own_foreign_key
    relationship_name = f"{model.__name__}.{field_name}"
    if is_collection and not nested.is_list:
        raise TypeError(
            f"{field} must be a list of models, because the foreign key of {relationship_name} is "
            "in another table."
        )
    if nested.is_list and not is_collection:
        raise TypeError(f"{field} must be one model, because {relationship_name} is one row.")
    if nested.is_list:
        forbid_converted_types_in_list(field, relationship, nested)
        return EmbeddedList(field_name, relationship, nested)
    require_supported_foreign_key(field, relationship, nested)
    return EmbeddedRow(field_name, relationship, nested)
