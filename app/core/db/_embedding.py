"""Embedding: a read model contains rows of other tables, for example a book contains its author.

    {"id": 1, "title": "Emma", "author": {"id": 7, "name": "Jane Austen"}, "tags": [...]}

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

The version of the resource, and therefore its ETag, consists of the versions of all displayed rows.
If an author changes, the ETags of the author's books change, without a write to the books.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

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
Relationship = RelationshipProperty[Any]


class EmbeddedField(Protocol):
    """Interface of a field that embeds rows of another table: a book's author, or its tags.

    It adds the embedded rows to the SQL statements that read a book. In all methods, `source` is
    the table of the read model, for example `books`, or a subquery with its columns.
    """

    def join_to(
        self, from_clause: sa.FromClause, source: sa.FromClause, *, use_outer_join: bool
    ) -> sa.FromClause:
        """Join the embedded rows to a FROM clause, and return the new FROM clause.

        Args:
            from_clause: `source`, possibly joined with the rows of other fields.
            source: The table of the read model, or a subquery with its columns.
            use_outer_join: Whether to keep a book even if the statement cannot see its author,
                because another transaction created the author after the statement started.
        """

    def selected_columns(self, source: sa.FromClause) -> list[Column]:
        """Return the columns to select from the join, for example `author_row.name`."""

    def version_from_join(self) -> Column:
        """Return the SQL expression for the version of the embedded rows, from joined columns."""

    def version_from_subquery(self, source: sa.FromClause) -> Column:
        """Return a subquery for the same version, because UPDATE and DELETE cannot use the join."""

    def read_value(self, row: Mapping[str, Any]) -> Any:
        """Return the value of the field, such as `{"name": "Ada"}`, from the columns of a row."""

    def json_value(self, columns: Mapping[str, Column]) -> Column | None:
        """Return the value of the field as JSON in SQL, or None if it must be read as columns."""

    def must_be_read_again(self, row: Mapping[str, Any]) -> bool:
        """Return whether an INSERT or UPDATE returned a row without its current embedded row."""


def create_embedded_fields(
    model: type[Base], read_model: type[BaseModel]
) -> dict[str, EmbeddedField]:
    """Create an object for each field of a read model that embeds rows of other tables.

    If `BookRead` contains the author and the tags of a book, the result is
    `{"author": EmbeddedRow(...), "tags": EmbeddedList(...)}`. `model` is the mapped class `Book`.

    Raises `TypeError` with an explanation if the read model does not fit the mapped class.
    """
    embedded_fields = {}
    for field_name, nested_model in find_nested_models(read_model).items():
        embedded_fields[field_name] = _create_embedded_field(
            model, read_model, field_name, nested_model
        )
        forbid_validation_aliases(nested_model.model)
    forbid_validation_aliases(read_model)
    forbid_unversioned_changes(model, read_model)
    return embedded_fields


def _create_embedded_field(
    model: type[Base], read_model: type[BaseModel], field_name: str, nested_model: NestedModel
) -> EmbeddedField:
    """Create the object that adds the rows of one field, such as the author, to statements.

    The rows are those of the relationship with the same name. The field `author` becomes an
    `EmbeddedRow` because `Book.author` is one row, and `tags` becomes an `EmbeddedList` because
    `Book.tags` is a collection.

    Raises `TypeError` with an explanation if the mapped class `model` has no such relationship, or
    if the type of the field does not fit it.
    """
    qualified_name = f"{read_model.__name__}.{field_name}"
    relationship = sa.inspect(model).relationships.get(field_name)
    if relationship is None:
        raise TypeError(
            f"{qualified_name} embeds a model, but {model.__name__} has no relationship of this "
            f'name. Add `{field_name}: Mapped[...] = relationship(lazy="raise")` to '
            f"{model.__name__}."
        )
    require_columns_for_fields(qualified_name, relationship, nested_model)
    require_version_of_embedded_rows(qualified_name, relationship, nested_model)
    require_foreign_key_join(qualified_name, relationship)
    _require_list_for_collection(qualified_name, relationship, nested_model)
    if nested_model.is_list:
        forbid_converted_types_in_list(qualified_name, relationship, nested_model)
        return EmbeddedList(field_name, relationship, nested_model)
    require_supported_foreign_key(qualified_name, relationship, nested_model)
    return EmbeddedRow(field_name, relationship, nested_model)


def _require_list_for_collection(
    qualified_name: str, relationship: Relationship, nested_model: NestedModel
) -> None:
    """Raise `TypeError` if a field is a list but its relationship is one row, or vice versa.

    `qualified_name` is the name of the field in the message, for example "BookRead.tags".

    A field of one row requires a foreign key in the table of the read model. For example, a book
    with `author_id` can embed its author. If `authors` had a foreign key `book_id` instead, the
    field would have to be a list, even in a one-to-one relationship.
    """
    has_own_foreign_key = relationship.direction is RelationshipDirection.MANYTOONE
    is_collection = relationship.uselist or not has_own_foreign_key
    relationship_name = str(relationship)
    if is_collection and not nested_model.is_list:
        raise TypeError(
            f"{qualified_name} must be a list of models, because the foreign key of "
            f"{relationship_name} is in another table."
        )
    if nested_model.is_list and not is_collection:
        raise TypeError(
            f"{qualified_name} must be one model, because {relationship_name} is one row."
        )
