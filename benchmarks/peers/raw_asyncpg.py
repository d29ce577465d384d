"""The limit: an ASGI application without a framework, with only a connection pool of asyncpg.

It shows the cost of uvicorn, the driver and Postgres alone. Each response is one statement on an
autocommit connection, and Postgres creates its JSON. Requests are validated only by Postgres,
headers are ignored, and every error is a 500. Pages of books start after the sort key of the last
row. It follows https://asgi.readthedocs.io/en/latest/specs/www.html and
https://magicstack.github.io/asyncpg/.

In the form `production`, the statement also checks the token, so that each request still takes one
round trip, and a line with the same fields as ours is written for each request.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, date, datetime
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from time import perf_counter
from typing import Any, Final
from urllib.parse import parse_qsl

import asyncpg

IS_PRODUCTION: Final = os.environ["BENCHMARK_FORM"] == "production"


def _valid_token(keyword: str, parameter: int) -> str:
    """Return a join that yields no row without a valid token, or nothing in the form `plain`.

    The digest of the token is the parameter with this number.
    """
    if not IS_PRODUCTION:
        return ""
    return f"""
    {keyword} (
        SELECT user_id FROM tokens WHERE digest = ${parameter} AND expires_at > now()
    ) AS valid_token
    """


_AUTHOR: Final = """
json_build_object('id', id, 'name', name, 'dob', dob,
                  'created_at', created_at, 'updated_at', updated_at)
"""
_BOOK: Final = """
json_build_object('id', b.id, 'title', b.title, 'author_id', b.author_id,
                  'author', json_build_object('id', a.id, 'name', a.name, 'dob', a.dob),
                  'created_at', b.created_at, 'updated_at', b.updated_at)
"""
READ_BOOK: Final = f"""
SELECT {_BOOK} FROM books b JOIN authors a ON a.id = b.author_id {_valid_token("CROSS JOIN", 2)}
WHERE b.id = $1
"""
LIST_BOOKS: Final = f"""
SELECT json_build_object('items', (
    SELECT json_agg({_BOOK}) FROM (
        SELECT * FROM books WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3
    ) b JOIN authors a ON a.id = b.author_id
)) {_valid_token("FROM", 4)}
"""
READ_AUTHOR: Final = f"""
SELECT {_AUTHOR} FROM authors {_valid_token("CROSS JOIN", 2)} WHERE id = $1
"""
LIST_AUTHORS: Final = f"""
SELECT json_build_object('items', (
    SELECT json_agg({_AUTHOR}) FROM (
        SELECT * FROM authors ORDER BY created_at, id LIMIT $1 OFFSET $2
    ) page
), 'total', (SELECT count(*) FROM authors)) {_valid_token("FROM", 3)}
"""
CREATE_AUTHOR: Final = f"""
INSERT INTO authors (id, name, dob)
SELECT uuidv7(), $1::text, $2::date {_valid_token("FROM", 3)}
RETURNING {_AUTHOR}
"""
UPDATE_AUTHOR: Final = f"""
UPDATE authors SET name = $2, updated_at = now(), version = version + 1
{_valid_token("FROM", 3)} WHERE id = $1
RETURNING {_AUTHOR}
"""
DELETE_AUTHOR: Final = f"""
DELETE FROM authors {_valid_token("USING", 2)} WHERE id = $1 RETURNING '{{}}'
"""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# A statement and its arguments.
Query = tuple[Any, ...]
pool: asyncpg.Pool


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Handle a request with the function of its route."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    started_at = perf_counter()
    _, collection, *ids = scope["path"].split("/")
    handler, success_status = ROUTES[scope["method"], collection, bool(ids)]
    statement, *arguments = await handler(scope, ids, receive)
    if IS_PRODUCTION:
        arguments.append(_token_digest(scope))
    sent_at = perf_counter()
    text = await pool.fetchval(statement, *arguments)
    statement_seconds = perf_counter() - sent_at
    status, body = success_status, (text or "").encode()
    if text is None:
        status = 401 if IS_PRODUCTION else 404
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    if IS_PRODUCTION:
        route = f"/{collection}/{{id}}" if ids else f"/{collection}"
        _write_log_line(scope, route, status, perf_counter() - started_at, statement_seconds)


def _token_digest(scope: MutableMapping[str, Any]) -> bytes:
    """Return the SHA-256 of the token of a request, or of an empty text if there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return sha256(value.removeprefix(b"Bearer ")).digest()
    return sha256(b"").digest()


def _write_log_line(
    scope: MutableMapping[str, Any], route: str, status: int, seconds: float, sql_seconds: float
) -> None:
    """Write the line of a request with the same fields as ours, in one write."""
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = (
        f'{{"timestamp": "{timestamp}", "level": "INFO", "request_id": "{os.urandom(16).hex()}", '
        f'"logger": "app.access", "event": "request", "method": "{scope["method"]}", '
        f'"route": "{route}", "path": {encode_basestring_ascii(scope["path"])}, '
        f'"status": {status}, "duration_ms": {seconds * 1000:.2f}, "sql": 1, '
        f'"sql_ms": {sql_seconds * 1000:.2f}}}\n'
    )
    os.write(2, line.encode())


async def _lifespan(receive: Receive, send: Send) -> None:
    global pool
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], max_size=int(os.environ["POOL_SIZE"]), reset=_skip_reset
    ) as pool:
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})


async def _skip_reset(_connection: Any) -> None:
    """Return a connection to the pool without a reset, because no statement changes its state."""


async def _read_book(_scope: Any, ids: list[str], _receive: Receive) -> Query:
    return READ_BOOK, ids[0]


async def _list_books(scope: Any, _ids: list[str], _receive: Receive) -> Query:
    query = dict(parse_qsl(scope["query_string"].decode()))
    return LIST_BOOKS, datetime.fromisoformat(query["after"]), query["id"], int(query["limit"])


async def _read_author(_scope: Any, ids: list[str], _receive: Receive) -> Query:
    return READ_AUTHOR, ids[0]


async def _list_authors(scope: Any, _ids: list[str], _receive: Receive) -> Query:
    query = dict(parse_qsl(scope["query_string"].decode()))
    return LIST_AUTHORS, int(query["limit"]), int(query["offset"])


async def _create_author(_scope: Any, _ids: list[str], receive: Receive) -> Query:
    data = json.loads((await receive())["body"])
    return CREATE_AUTHOR, data["name"], date.fromisoformat(data["dob"])


async def _update_author(_scope: Any, ids: list[str], receive: Receive) -> Query:
    data = json.loads((await receive())["body"])
    return UPDATE_AUTHOR, ids[0], data["name"]


async def _delete_author(_scope: Any, ids: list[str], _receive: Receive) -> Query:
    return DELETE_AUTHOR, ids[0]


# The function and the status for each method and collection. The third part of a key says whether
# the path has an id.
ROUTES: Final = {
    ("GET", "books", True): (_read_book, 200),
    ("GET", "books", False): (_list_books, 200),
    ("GET", "authors", True): (_read_author, 200),
    ("GET", "authors", False): (_list_authors, 200),
    ("POST", "authors", False): (_create_author, 201),
    ("PATCH", "authors", True): (_update_author, 200),
    ("DELETE", "authors", True): (_delete_author, 200),
}
