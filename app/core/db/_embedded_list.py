"""A field of a read model that embeds a list of rows."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import RelationshipProperty

from app.core.schemas import Nested

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
DIGEST_LENGTH: Final = 16  # hexadecimal digits


class EmbeddedList:
    """The rows of a collection, for example the tags of a book, sorted by their primary key.

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

    def __init__(self, name: str, relationship: Relationship, nested: Nested) -> None:
        self._name = name
        self._relationship = relationship
        self._rows = relationship.mapper.local_table.alias(f"{name}_row")
        self._primary_key = [self._rows.c[str(key.key)] for key in relationship.mapper.primary_key]
        self._fields = [self._rows.c[field] for field in nested.model.model_fields]
        self._items = sa.column(f"{name}__items", sa.Text)
        self._version = sa.column(f"{name}__version", sa.Text)

    def join(self, source: sa.FromClause, rows: sa.FromClause, *, outer: bool) -> sa.FromClause:
        items = self._json_array().label(self._items.name)
        version = self._digest().label(self._version.name)
        subquery = self._select(rows, items, version).lateral(f"{self._name}_list")
        # The subquery always has one row, so both kinds of join have the same result.
        return source.join(subquery, sa.true(), isouter=outer)

    def columns(self, rows: sa.FromClause) -> list[Column]:  # noqa: ARG002
        return [self._items]

    def joined_version(self) -> Column:
        return self._version

    def version_of(self, rows: sa.FromClause) -> Column:
        return self._select(rows, self._digest()).scalar_subquery()

    def value(self, row: Mapping[str, Any]) -> Any:
        # A float would lose digits of a NUMERIC.
        return json.loads(row[self._items.name], parse_float=Decimal)

    def is_missing(self, row: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Return False, because a collection may be empty."""
        return False

    def _select(self, rows: sa.FromClause, *columns: Column) -> sa.Select[Any]:
        """Select from the rows of the collection that belongs to each of `rows`."""
        link_table = self._relationship.secondary
        if link_table is None:
            # One to many: the rows of the collection have the foreign key to their owner.
            source: sa.FromClause = self._rows
            table_with_foreign_key: sa.FromClause = self._rows
        else:
            # Many to many: the link table has foreign keys to both.
            link_conditions = [
                self._rows.c[str(column.key)] == foreign_key
                for column, foreign_key in self._relationship.secondary_synchronize_pairs or []
            ]
            source = self._rows.join(link_table, sa.and_(*link_conditions))
            table_with_foreign_key = link_table
        owner_conditions = [
            table_with_foreign_key.c[str(foreign_key.key)] == rows.c[str(column.key)]
            for column, foreign_key in self._relationship.synchronize_pairs
        ]
        return sa.select(*columns).select_from(source).where(*owner_conditions).correlate(rows)

    def _json_array(self) -> Column:
        """Return the expression of the text of a JSON array."""
        keys_and_values: list[Any] = []
        for column in self._fields:
            keys_and_values += [sa.literal_column(f"'{column.key}'"), column]
        json_object = sa.func.jsonb_build_object(*keys_and_values)
        array = sa.func.jsonb_agg(json_object).aggregate_order_by(*self._primary_key)
        empty_array: Column = sa.literal_column("'[]'::jsonb")
        return sa.cast(sa.func.coalesce(array, empty_array), sa.Text)

    def _digest(self) -> Column:
        """Return the expression of a digest such as `9f86d081884c7d65`."""
        colon = sa.literal_column("':'", sa.Text)
        comma = sa.literal_column("','", sa.Text)
        key_and_version = sa.func.concat_ws(colon, *self._primary_key, self._rows.c.version)
        joined = sa.func.string_agg(key_and_version, comma).aggregate_order_by(*self._primary_key)
        text = sa.func.coalesce(joined, sa.literal_column("''"))
        digest = sa.func.sha256(sa.func.convert_to(text, sa.literal_column("'UTF8'")))
        hexadecimal = sa.func.encode(digest, sa.literal_column("'hex'"))
        return sa.func.left(hexadecimal, sa.literal_column(str(DIGEST_LENGTH)), type_=sa.Text)
