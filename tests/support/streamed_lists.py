"""Lists as lines: asked for, read, and compared with what JSON says of the same rows."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

from httpx import AsyncClient, Response
from starlette.types import Scope

from tests.support.entities import ENTITIES
from tests.support.factories import Json
from tests.support.openapi import resolve_schema
from tests.support.responses import get_json

NDJSON, CSV = "application/x-ndjson", "text/csv"
CSV_TYPE = "text/csv; charset=utf-8"
STREAMED_PATHS = tuple(case.path for case in ENTITIES if case.streams)


async def get_stream(client: AsyncClient, url: str, accept: str = NDJSON, **more: Any) -> Response:
    """The answer to whom `accept` is."""
    return await client.get(url, headers={"Accept": accept}, **more)


async def read_json_lines(client: AsyncClient, url: str) -> list[Json]:
    """Every row of a list, from its lines of JSON."""
    answer = await get_stream(client, url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, NDJSON), answer.text
    assert answer.content.endswith(b"\n") or not answer.content
    return [json.loads(line) for line in answer.content.split(b"\n")[:-1]]


async def read_csv(client: AsyncClient, url: str) -> list[list[str]]:
    """Every row of a list, from CSV, the header first."""
    answer = await get_stream(client, url, CSV)
    assert (answer.status_code, answer.headers["content-type"]) == (200, CSV_TYPE), answer.text
    return list(csv.reader(StringIO(answer.content.decode(), newline=""), strict=True))


async def read_all_pages(client: AsyncClient, url: str) -> list[Json]:
    """Every row of a list, page by page."""
    found = list[Json]()
    cursor: str | None = ""
    while cursor is not None:
        page = await get_json(client, f"{url}{'&' if '?' in url else '?'}size=100{cursor}")
        found += page["items"]
        cursor = page["next"] and f"&cursor={page['next']}"
    return found


async def csv_columns(client: AsyncClient, path: str) -> list[str]:
    """Return the columns that a list has as CSV, according to the OpenAPI document."""
    document = await get_json(client, "/openapi.json")
    schemas: Json = document["components"]["schemas"]
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    page = resolve_schema(content["application/json"]["schema"], schemas)
    return list(_columns(page["properties"]["items"]["items"], schemas))


def _columns(schema: Json, schemas: Json) -> Iterator[str]:
    """One column for each field; `author` of a book gives `author_name` and `author_dob`."""
    properties = resolve_schema(schema, schemas)["properties"]
    for name, part in properties.items():
        # A field that may be null: what matters is its other type.
        options = [option for option in part.get("anyOf", [part]) if option != {"type": "null"}]
        if "properties" not in resolve_schema(options[0], schemas):
            yield name
            continue
        columns = (f"{name}_{column}" for column in _columns(options[0], schemas))
        # The id of the author is the column `author_id` already.
        yield from (column for column in columns if column not in properties)


def csv_cells(row: Json, columns: list[str]) -> list[str]:
    """Return the values of a row of CSV, from the same row in JSON."""
    return [_cell(_value(row, column)) for column in columns]


def _value(row: Json, column: str) -> Any:
    """Return the value of a column, which may be one of a row in the row: `author_name`."""
    if column in row:
        return row[column]
    [name] = [name for name in row if column.startswith(f"{name}_")]
    nested = row[name]
    return None if nested is None else nested[column.removeprefix(f"{name}_")]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def asgi_scope(path: str, accept: str = NDJSON, query: str = "") -> Scope:
    """What a server passes on of such a request, for a test that is the server."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},  # uvicorn's
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"test"), (b"accept", accept.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
