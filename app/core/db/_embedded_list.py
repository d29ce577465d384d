"""A field of a read model that contains a list of rows of another table."""

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
    """A field that contains a list of rows, such as the tags of a book, sorted by primary key.

    A subquery returns the rows as the text of a JSON array, and a digest of their keys and
    versions. A sum of the versions is not enough, because it can stay the same when one row is
    replaced by another.

        SELECT CAST(coalesce(jsonb_agg(
                jsonb_build_object('id', tags_row.id, 'name', tags_row.name) ORDER BY tags_row.id
            ), '[]') AS TEXT) AS tags__items,
            left(encode(sha256(convert_to(coalesce(
                string_agg(concat_ws(':', tags_row.id, tags_row.version), ',' ORDER BY tags_row.id),
                ''
            ), 'UTF8')), 'hex'), 16) AS tags__version
        FROM tags AS tags_row JOIN book_tags ON tags_row.id = book_tags.tag_id
        WHERE book_tags.book_id = books.id
    """

    def __init__(self, field_name: str, relationship: Relationship, nested: NestedModel) -> None:
        """Prepare the columns of the subquery.

        Args:
            field_name: The name of the field and of the relationship, for example "tags".
            relationship: The relationship of the mapped class, one-to-many or many-to-many.
            nested: The type of the field, which contains the model of a row.
        """
        self._field_name = field_name
        self._relationship = relationship
        table = relationship.mapper.local_table
        self._embedded_table = table.alias(f"{field_name}_row")
        self._primary_key = [
            self._embedded_table.c[str(column.key)] for column in relationship.mapper.primary_key
        ]
        self._columns = [self._embedded_table.c[name] for name in nested.model.model_fields]
        self._items = sa.column(f"{field_name}__items", sa.Text)
        self._version = sa.column(f"{field_name}__version", sa.Text)

    def join_to(
        self, from_clause: sa.FromClause, source: sa.FromClause, *, keep_incomplete: bool
    ) -> sa.FromClause:
        """Add `JOIN LATERAL (SELECT ...) AS tags_list ON true` to a FROM clause."""
        items = self._json_array().label(self._items.name)
        version = self._digest().label(self._version.name)
        subquery = self._select_from_rows_of(source, items, version)
        lateral = subquery.lateral(f"{self._field_name}_list")
        # The subquery always has one row, so both kinds of join have the same result.
        return from_clause.join(lateral, sa.true(), isouter=keep_incomplete)

    def selected_columns(self, source: sa.FromClause) -> list[Column]:  # noqa: ARG002
        """Return the column with the JSON array of the rows, for example `tags__items`."""
        return [self._items]

    def version_from_join(self) -> Column:
        """Return the column with the digest of the rows, for example `tags__version`."""
        return self._version

    def version_from_subquery(self, source: sa.FromClause) -> Column:
        """Return the digest of the rows without a join."""
        return self._select_from_rows_of(source, self._digest()).scalar_subquery()

    def read_value(self, row: Mapping[str, Any]) -> Any:
        """Return the value of the field from a selected row, for example `[{"name": "novel"}]`."""
        # A float would lose digits of a NUMERIC.
        return json.loads(row[self._items.name], parse_float=Decimal)

    def is_incomplete(self, row: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Return False, because a list may be empty."""
        return False

    def _select_from_rows_of(self, source: sa.FromClause, *columns: Column) -> sa.Select[Any]:
        """Select columns from the embedded rows that belong to each row of `source`.

        With a link table, for the tags of `books`:

            SELECT ... FROM tags AS tags_row JOIN book_tags ON tags_row.id = book_tags.tag_id
            WHERE book_tags.book_id = books.id

        Without a link table, the embedded rows have the foreign key:

            SELECT ... FROM reviews AS reviews_row WHERE reviews_row.book_id = books.id
        """
        link_table = self._relationship.secondary
        if link_table is None:
            from_clause: sa.FromClause = self._embedded_table
            table_with_foreign_key: sa.FromClause = self._embedded_table
        else:
            link_conditions = [
                self._embedded_table.c[str(column.key)] == foreign_key
                for column, foreign_key in self._relationship.secondary_synchronize_pairs or []
            ]
            from_clause = self._embedded_table.join(link_table, sa.and_(*link_conditions))
            table_with_foreign_key = link_table
        owner_conditions = [
            table_with_foreign_key.c[str(foreign_key.key)] == source.c[str(column.key)]
            for column, foreign_key in self._relationship.synchronize_pairs
        ]
        query = sa.select(*columns).select_from(from_clause)
        return query.where(*owner_conditions).correlate(source)

    def _json_array(self) -> Column:
        """Return the expression for the rows as the text of a JSON array.

        CAST(coalesce(jsonb_agg(jsonb_build_object('id', tags_row.id, ...) ORDER BY tags_row.id),
            '[]'::jsonb) AS TEXT)
        """
        keys_and_values: list[Any] = []
        for column in self._columns:
            keys_and_values += [sa.literal_column(f"'{column.key}'"), column]
        json_object = sa.func.jsonb_build_object(*keys_and_values)
        array = sa.func.jsonb_agg(json_object).aggregate_order_by(*self._primary_key)
        empty_array: Column = sa.literal_column("'[]'::jsonb")
        return sa.cast(sa.func.coalesce(array, empty_array), sa.Text)

    def _digest(self) -> Column:
        """Return the expression for a digest of the rows, such as `9f86d081884c7d65`.

        It is the beginning of the SHA-256 of the rows' keys and versions, such as `1:4,2:1`, so it
        changes if a row is added, removed, replaced or updated.
        """
        colon = sa.literal_column("':'", sa.Text)
        comma = sa.literal_column("','", sa.Text)
        key_and_version = sa.func.concat_ws(
            colon, *self._primary_key, self._embedded_table.c.version
        )
        joined = sa.func.string_agg(key_and_version, comma).aggregate_order_by(*self._primary_key)
        text = sa.func.coalesce(joined, sa.literal_column("''"))
        digest = sa.func.sha256(sa.func.convert_to(text, sa.literal_column("'UTF8'")))
        hexadecimal = sa.func.encode(digest, sa.literal_column("'hex'"))
        return sa.func.left(hexadecimal, sa.literal_column(str(DIGEST_LENGTH)), type_=sa.Text)
