"""Reads lists as CSV and JSON lines, and compares them with the JSON pages of the same rows."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

from httpx import AsyncClient, Response
from starlette.types import Scope

from tests.support.entities import ENTITIES
from tests.support.factories import Json
from tests.support.openapi_schemas import merge_reference
from tests.support.responses import get_json

# The extension of the path of a stream, such as `/books.csv`, and the type of its response.
NDJSON = "ndjson"
CSV = "csv"
CONTENT_TYPES = {CSV: "text/csv; charset=utf-8", NDJSON: "application/x-ndjson"}
# The paths of the lists that are available as CSV and JSON lines.
STREAMED_PATHS = tuple(case.path for case in ENTITIES if case.streams)


def stream_url(list_url: str, extension: str) -> str:
    """Return the URL of a list as a file: `/books.csv?q=x` for the list `/books?q=x`."""
    path, separator, query = list_url.partition("?")
    return f"{path}.{extension}{separator}{query}"


async def get_stream(client: AsyncClient, list_url: str, extension: str = NDJSON) -> Response:
    """Get a whole list as a file. `list_url` is that of the list, such as `/books?q=x`."""
    return await client.get(stream_url(list_url, extension))


async def read_json_lines(client: AsyncClient, url: str) -> list[Json]:
    """Return every row of a list, read as JSON lines."""
    response = await get_stream(client, url)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == CONTENT_TYPES[NDJSON]
    assert response.content.endswith(b"\n") or not response.content
    lines = response.content.split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


async def read_csv(client: AsyncClient, url: str) -> list[list[str]]:
    """Return the header and every row of a list, read as CSV."""
    response = await get_stream(client, url, CSV)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == CONTENT_TYPES[CSV]
    return list(csv.reader(StringIO(response.content.decode(), newline=""), strict=True))


async def read_all_pages(client: AsyncClient, url: str) -> list[Json]:
    """Return every row of a list, read page by page with cursors."""
    separator = "&" if "?" in url else "?"
    first_page = f"{url}{separator}size=100"
    page = await get_json(client, first_page)
    rows: list[Json] = page["items"]
    while page["next"] is not None:
        page = await get_json(client, f"{first_page}&cursor={page['next']}")
        rows += page["items"]
    return rows


async def csv_columns(client: AsyncClient, path: str) -> list[str]:
    """Return the columns that a list has as CSV, according to the OpenAPI document."""
    document = await get_json(client, "/openapi.json")
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    page = merge_reference(document, content["application/json"]["schema"])
    return list(_schema_columns(page["properties"]["items"]["items"], document))


def _schema_columns(schema: Json, document: Json) -> Iterator[str]:
    """Yield the CSV columns of a schema: one for each field, and one for each embedded field.

    The field `author` of a book, an object, gives the columns `author_name` and `author_dob`.
    """
    properties = merge_reference(document, schema)["properties"]
    for name, field in properties.items():
        # A field that may be null has two types. The other one determines the columns.
        types = [option for option in field.get("anyOf", [field]) if option != {"type": "null"}]
        if "properties" not in merge_reference(document, types[0]):
            yield name
            continue
        for embedded_name in _schema_columns(types[0], document):
            column = f"{name}_{embedded_name}"
            # The id of the author is the field `author_id` already.
            if column not in properties:
                yield column


def csv_cells(row: Json, columns: list[str]) -> list[str]:
    """Return the cells of a CSV row, given the same row as JSON."""
    return [_format_cell(_column_value(row, column)) for column in columns]


def _column_value(row: Json, column: str) -> Any:
    """Return the value of a CSV column, which may be in an embedded row.

    The column `author_name` is the field `name` of the object `row["author"]`.
    """
    if column in row:
        return row[column]
    [name] = [name for name in row if column.startswith(f"{name}_")]
    embedded_row = row[name]
    if embedded_row is None:
        return None
    return embedded_row[column.removeprefix(f"{name}_")]


def _format_cell(value: Any) -> str:
    """Return a JSON value as text of a CSV cell: a list as JSON, null as an empty string."""
    if value is None:
        return ""
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def asgi_scope(path: str, query: str = "") -> Scope:
    """Return the ASGI scope of a GET request, as uvicorn passes it to the application."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", b"test")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
