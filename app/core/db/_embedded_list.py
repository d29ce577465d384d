"""Embedded lists: a book that is read from the database contains a list of its tags."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty

from app.core.nested_models import NestedModel

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
DIGEST_LENGTH: Final = 16  # hexadecimal digits


class EmbeddedList:
    """A field that contains a list of rows of another table, such as the tags of a book.

    The statement that reads a book also reads its tags, by a subquery with two columns:

        SELECT ... AS tags__items, ... AS tags__version
        FROM tags AS tags_row JOIN book_tags ON tags_row.id = book_tags.tag_id
        WHERE book_tags.book_id = books.id

    `tags__items` is a JSON array of the tags, sorted by primary key, which `read_value` converts to
    the value of the field. `tags__version` is a digest of the ids and versions of the tags. It is a
    part of the version of the book, because a change of its tags has to change its ETag.
    """

    def __init__(
        self, field_name: str, relationship: Relationship, nested_model: NestedModel
    ) -> None:
        """Prepare the tables and columns of the subquery that reads the rows.

        Args:
            field_name: The name of the field and of the relationship, for example "tags".
            relationship: The relationship of the mapped class, one-to-many or many-to-many.
            nested_model: The type of the field, which contains the model of a row.
        """
        self._field_name = field_name
        self._relationship = relationship
        table = relationship.mapper.local_table
        self._embedded_table = table.alias(f"{field_name}_row")
        # If a book has many reviews, each review has a foreign key to the book. If books and tags
        # have a many-to-many relationship, the link table has this foreign key.
        self._referring_table: sa.FromClause = self._embedded_table
        self._from_clause: sa.FromClause = self._embedded_table
        if relationship.secondary is not None:
            self._referring_table = relationship.secondary
            self._from_clause = self._join_link_table(relationship.secondary)
        self._primary_key = [
            self._embedded_table.c[str(column.key)] for column in relationship.mapper.primary_key
        ]
        self._columns = [self._embedded_table.c[name] for name in nested_model.model.model_fields]
        # The two columns of the subquery: the JSON array of the rows, and the digest.
        self._json_column = sa.column(f"{field_name}__items", sa.Text)
        self._digest_column = sa.column(f"{field_name}__version", sa.Text)

    def join_to(
        self, from_clause: sa.FromClause, source: sa.FromClause, *, use_outer_join: bool
    ) -> sa.FromClause:
        """Join the subquery that reads the rows to a FROM clause, and return the new FROM clause.

        The result is `books JOIN LATERAL (SELECT ...) AS tags_list ON true`.
        """
        json_array = self._json_array_of_rows().label(self._json_column.name)
        digest = self._digest_of_rows().label(self._digest_column.name)
        embedded_rows = self._select_embedded_rows(source, json_array, digest)
        lateral = embedded_rows.lateral(f"{self._field_name}_list")
        # The subquery always returns one row, so an outer join has the same result as an inner one.
        return from_clause.join(lateral, sa.true(), isouter=use_outer_join)

    def selected_columns(self, source: sa.FromClause) -> list[Column]:  # noqa: ARG002
        """Return the column with the JSON array of the rows, for example `tags__items`."""
        return [self._json_column]

    def version_from_join(self) -> Column:
        """Return the column with the digest of the rows, for example `tags__version`."""
        return self._digest_column

    def version_from_subquery(self, source: sa.FromClause) -> Column:
        """Return a subquery that selects the digest of the rows, where a join is not possible."""
        return self._select_embedded_rows(source, self._digest_of_rows()).scalar_subquery()

    def read_value(self, row: Mapping[str, Any]) -> Any:
        """Return the value of the field from a selected row, for example `[{"name": "novel"}]`."""
        # A float would lose digits of a NUMERIC value.
        return json.loads(row[self._json_column.name], parse_float=Decimal)

    def json_value(self, columns: Mapping[str, Column]) -> None:
        """Return None, because a list may contain numbers that only `read_value` parses exactly."""

    def must_be_read_again(self, row: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Return False, because a book without tags is valid, unlike a book without its author."""
        return False

    def _select_embedded_rows(self, source: sa.FromClause, *columns: Column) -> sa.Select[Any]:
        """Select columns of the rows that belong to a row of `source`, such as the tags of a book.

        In a many-to-many relationship, a row of a link table connects each tag to the book:

            SELECT ... FROM tags AS tags_row JOIN book_tags ON tags_row.id = book_tags.tag_id
            WHERE book_tags.book_id = books.id

        In a one-to-many relationship, each embedded row has a foreign key to the book:

            SELECT ... FROM reviews AS reviews_row WHERE reviews_row.book_id = books.id
        """
        # The referring table has the foreign key to the book. It is `book_tags` or `reviews_row`.
        belongs_to_source_row = [
            self._referring_table.c[str(foreign_key.key)] == source.c[str(referred_column.key)]
            for referred_column, foreign_key in self._relationship.synchronize_pairs
        ]
        query = sa.select(*columns).select_from(self._from_clause).where(*belongs_to_source_row)
        # `correlate` keeps `books`, the table of the outer statement, out of the subquery's FROM.
        return query.correlate(source)

    def _join_link_table(self, link_table: sa.FromClause) -> sa.FromClause:
        """Join the link table, which connects each tag to its books, to the embedded table.

        Returns `tags AS tags_row JOIN book_tags ON tags_row.id = book_tags.tag_id`.
        """
        key_pairs = self._relationship.secondary_synchronize_pairs or []
        conditions = [
            self._embedded_table.c[str(referred_column.key)] == foreign_key
            for referred_column, foreign_key in key_pairs
        ]
        return self._embedded_table.join(link_table, sa.and_(*conditions))

    def _json_array_of_rows(self) -> Column:
        """Return the SQL expression that aggregates the embedded rows into one JSON array.

            CAST(coalesce(jsonb_agg(
                jsonb_build_object('id', tags_row.id, 'name', tags_row.name) ORDER BY tags_row.id
            ), '[]'::jsonb) AS TEXT)

        A value of the expression is `[{"id": 1, "name": "novel"}, {"id": 2, "name": "satire"}]`.
        """
        keys_and_values: list[Any] = []
        for column in self._columns:
            keys_and_values += [sa.literal_column(f"'{column.key}'"), column]
        json_object = sa.func.jsonb_build_object(*keys_and_values)
        json_array = sa.func.jsonb_agg(json_object).aggregate_order_by(*self._primary_key)
        # The aggregate of zero rows is NULL.
        empty_array: Column = sa.literal_column("'[]'::jsonb")
        return sa.cast(sa.func.coalesce(json_array, empty_array), sa.Text)

    def _digest_of_rows(self) -> Column:
        """Return the SQL expression for a digest of the embedded rows, such as `9f86d081884c7d65`.

            left(encode(sha256(convert_to(coalesce(
                string_agg(concat_ws(':', tags_row.id, tags_row.version), ',' ORDER BY tags_row.id),
                ''
            ), 'UTF8')), 'hex'), 16)

        It is computed from the id and version of each row. The text `1:4,2:1`, for example, stands
        for row 1 with version 4 and row 2 with version 1. The digest therefore changes when a row
        is added, removed, replaced or updated. A sum of the versions would stay the same when a row
        is replaced by another row with the same version.
        """
        # `literal_column` writes a constant into the SQL text instead of passing it as a parameter.
        colon = sa.literal_column("':'", sa.Text)
        comma = sa.literal_column("','", sa.Text)
        empty_text = sa.literal_column("''", sa.Text)
        utf8 = sa.literal_column("'UTF8'", sa.Text)
        hex_format = sa.literal_column("'hex'", sa.Text)
        digest_length = sa.literal_column(str(DIGEST_LENGTH), sa.Integer)
        version = self._embedded_table.c.version
        key_and_version = sa.func.concat_ws(colon, *self._primary_key, version)
        joined_pairs = sa.func.string_agg(key_and_version, comma)
        sorted_pairs = joined_pairs.aggregate_order_by(*self._primary_key)
        # The aggregate of zero rows is NULL.
        text = sa.func.coalesce(sorted_pairs, empty_text)
        sha256 = sa.func.sha256(sa.func.convert_to(text, utf8))
        hex_digits = sa.func.encode(sha256, hex_format)
        return sa.func.left(hex_digits, digest_length, type_=sa.Text)
