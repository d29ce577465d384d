"""Lists as lines: asked for, read, and compared with what JSON says of the same rows."""

import csv
import json
from io import StringIO
from typing import Any

from httpx import AsyncClient, Response
from starlette.types import Scope

from tests.answers import get
from tests.factories import Json

NDJSON, CSV = "application/x-ndjson", "text/csv"
CSV_TYPE = "text/csv; charset=utf-8"
STREAMED = ("/authors", "/books")
COLUMNS = {
    "/authors": ["id", "name", "dob", "created_at", "updated_at", "version"],
    "/books": [
        *("id", "title", "author_id", "author_name", "author_dob"),
        *("created_at", "updated_at", "version"),
    ],
}


async def asked(client: AsyncClient, url: str, accept: str = NDJSON, **more: Any) -> Response:
    """The answer to whom `accept` is."""
    return await client.get(url, headers={"Accept": accept}, **more)


async def lines(client: AsyncClient, url: str) -> list[Json]:
    """Every row of a list, from its lines of JSON."""
    answer = await asked(client, url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, NDJSON), answer.text
    assert answer.content.endswith(b"\n") or not answer.content
    return [json.loads(line) for line in answer.content.split(b"\n")[:-1]]


async def table(client: AsyncClient, url: str) -> list[list[str]]:
    """Every row of a list, from CSV, the header first."""
    answer = await asked(client, url, CSV)
    assert (answer.status_code, answer.headers["content-type"]) == (200, CSV_TYPE), answer.text
    return list(csv.reader(StringIO(answer.content.decode(), newline=""), strict=True))


async def pages(client: AsyncClient, url: str) -> list[Json]:
    """Every row of a list, page by page."""
    found = list[Json]()
    cursor: str | None = ""
    while cursor is not None:
        page = await get(client, f"{url}{'&' if '?' in url else '?'}size=100{cursor}")
        found += page["items"]
        cursor = page["next"] and f"&cursor={page['next']}"
    return found


def cells(row: Json) -> list[str]:
    """What a line of CSV says of a row."""
    found = list[str]()
    for value in row.values():
        if isinstance(value, dict):
            found += [inner or "" for key, inner in value.items() if key != "id"]
        else:
            found.append("" if value is None else value)
    return found


def scope(path: str, accept: str = NDJSON, query: str = "") -> Scope:
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
