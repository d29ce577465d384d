"""The description of an entity that the generic tests read."""

import re
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Entity
from tests.support.factories import Json

Operation = tuple[str, str]  # method and path template: ("get", "/authors/{id}")

# The id of row 1 of every table that a test fills.
FIRST_ID: Final = "01890000-0000-7000-8000-000000000001"
# A valid id that no row has.
UNKNOWN_ID: Final = "01890000-0000-7000-8000-000000000000"
# SQL expressions. The id of row n ends in n. The row was created n minutes into 2026 and changed n
# minutes into 2027.
_ID: Final = "('01890000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid"
_CREATED_AT: Final = "timestamptz '2026-01-01T00:00Z' + n * interval '1 minute'"
_UPDATED_AT: Final = "timestamptz '2027-01-01T00:00Z' + n * interval '1 minute'"


@dataclass(frozen=True, kw_only=True)
class EntityCase:
    """An entity with the standard operations, and the values with which it is tested.

    The path and the operation ids are derived from the names of the table and of the class.
    """

    model: type[Entity]
    # The SQL expression of each column in row n of a filled table, for example {"size": "n"}. The
    # id and the timestamps have defaults. A foreign key refers to row 1 of the other table, as in
    # {"author_id": f"'{FIRST_ID}'"}.
    columns: dict[str, str]
    # The keys by which the list can be sorted.
    sorts: tuple[str, ...]
    # Valid bodies of POST and PATCH. `update` changes a field of `create`.
    create: Json
    update: Json
    # The column that `q` searches, and a word of that column in every filled row, in lower case.
    search_column: str | None = None
    search_word: str | None = None
    # A valid value for each filter of the list except `id` and the filters by time.
    filters: dict[str, str] = field(default_factory=dict)
    has_id_filter: bool = True
    # True if the list can be downloaded as CSV and as JSON lines.
    streams: bool = False
    # True if `POST /authors/deletions` deletes several rows by their ids.
    deletes_many: bool = False
    # True if POST and PATCH take a multipart form instead of JSON.
    is_form: bool = False
    # True if the permissions are catalog:read and catalog:write. Otherwise the operations need
    # rows in tests/support/access_table.py.
    is_catalog: bool = True

    @property
    def table(self) -> sa.Table:
        """The table of the entity."""
        return self.model.metadata.tables[self.plural]

    @property
    def plural(self) -> str:
        """The name of the table: `authors`."""
        name: str = self.model.__tablename__
        return name

    @property
    def singular(self) -> str:
        """The name of the class in snake case: `author`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.model.__name__).lower()

    @property
    def path(self) -> str:
        """The path of the collection: `/authors`."""
        return "/" + self.plural.replace("_", "-")

    @property
    def operations(self) -> dict[Operation, str]:
        """The operation ids by method and path: `{("get", "/authors"): "list_authors", ...}`."""
        item_path = f"{self.path}/{{id}}"
        deletions = {("post", f"{self.path}/deletions"): f"delete_{self.plural}"}
        stream_operations = {
            ("get", f"{self.path}.{extension}"): f"download_{self.plural}_{extension}"
            for extension in ("csv", "ndjson")
        }
        return {
            **(stream_operations if self.streams else {}),
            ("get", self.path): f"list_{self.plural}",
            ("post", self.path): f"create_{self.singular}",
            ("get", item_path): f"read_{self.singular}",
            ("patch", item_path): f"update_{self.singular}",
            ("delete", item_path): f"delete_{self.singular}",
            **(deletions if self.deletes_many else {}),
        }

    @property
    def has_uuid(self) -> bool:
        """True if the id is a UUID. Otherwise it is a number that the database generates."""
        return self.table.c.id.type.python_type is UUID

    def insert_statement(self, source: str) -> str:
        """Return an INSERT of one row for each n of a source such as `generate_series(1, 57) n`."""
        values = {"created_at": _CREATED_AT, "updated_at": _UPDATED_AT, **self.columns}
        if self.has_uuid:
            values = {"id": _ID, **values}
        return (
            f"INSERT INTO {self.plural} ({', '.join(values)}) "
            f"SELECT {', '.join(values.values())} FROM {source}"
        )

    def with_columns(self, columns: dict[str, str]) -> "EntityCase":
        """Return a copy with other SQL expressions for some columns, also for id or timestamps."""
        return replace(self, columns={**self.columns, **columns})
