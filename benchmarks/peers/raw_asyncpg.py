"""The limit: an ASGI application without a framework, with only a connection pool of asyncpg.

It shows the cost of uvicorn, the driver and Postgres alone. Each response is one statement on an
autocommit connection, and Postgres creates its JSON. Requests are validated only by Postgres,
headers are ignored, and every error is a 500. Pages of books start after the sort key of the last
row. It follows https://asgi.readthedocs.io/en/latest/specs/www.html and
https://magicstack.github.io/asyncpg/.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import asyncpg

_AUTHOR: Final = """
json_build_object('id', id, 'name', name, 'dob', dob,
                  'created_at', created_at, 'updated_at', updated_at)
"""
_BOOK: Final = """
json_build_object('id', b.id, 'title', b.title, 'author_id', b.author_id,
                  'author', json_build_object('id', a.id, 'name', a.name, 'dob', a.dob),
                  'created_at', b.created_at, 'updated_at', b.updated_at)
"""
READ_BOOK: Final = (
    f"SELECT {_BOOK} FROM books b JOIN authors a ON a.id = b.author_id WHERE b.id = $1"
)
LIST_BOOKS: Final = f"""
SELECT json_build_object('items', json_agg({_BOOK})) FROM (
    SELECT * FROM books WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3
) b JOIN authors a ON a.id = b.author_id
"""
READ_AUTHOR: Final = f"SELECT {_AUTHOR} FROM authors WHERE id = $1"
LIST_AUTHORS: Final = f"""
SELECT json_build_object('items', (
    SELECT json_agg({_AUTHOR}) FROM (
        SELECT * FROM authors ORDER BY created_at, id LIMIT $1 OFFSET $2
    ) page
), 'total', (SELECT count(*) FROM authors))
"""
CREATE_AUTHOR: Final = (
    f"INSERT INTO authors (id, name, dob) VALUES (uuidv7(), $1, $2) RETURNING {_AUTHOR}"
)
UPDATE_AUTHOR: Final = f"""
UPDATE authors SET name = $2, updated_at = now(), version = version + 1 WHERE id = $1
RETURNING {_AUTHOR}
"""
DELETE_AUTHOR: Final = "DELETE FROM authors WHERE id = $1"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
pool: asyncpg.Pool


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Handle a request with the function of its route."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    _, collection, *ids = scope["path"].split("/")
    handler = ROUTES[scope["method"], collection, bool(ids)]
    status, body = await handler(scope, ids, receive)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    global pool
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], max_size=20, reset=_skip_reset
    ) as pool:
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})


async def _skip_reset(_connection: Any) -> None:
    """Return a connection to the pool without a reset, because no statement changes its state."""


async def _read_book(_scope: Any, ids: list[str], _receive: Receive) -> tuple[int, bytes]:
    return 200, (await pool.fetchval(READ_BOOK, ids[0])).encode()


async def _list_books(scope: Any, _ids: list[str], _receive: Receive) -> tuple[int, bytes]:
    query = dict(parse_qsl(scope["query_string"].decode()))
    after = datetime.fromisoformat(query["after"]), query["id"], int(query["limit"])
    return 200, (await pool.fetchval(LIST_BOOKS, *after)).encode()


async def _read_author(_scope: Any, ids: list[str], _receive: Receive) -> tuple[int, bytes]:
    return 200, (await pool.fetchval(READ_AUTHOR, ids[0])).encode()


async def _list_authors(scope: Any, _ids: list[str], _receive: Receive) -> tuple[int, bytes]:
    query = dict(parse_qsl(scope["query_string"].decode()))
    page = int(query["limit"]), int(query["offset"])
    return 200, (await pool.fetchval(LIST_AUTHORS, *page)).encode()


async def _create_author(_scope: Any, _ids: list[str], receive: Receive) -> tuple[int, bytes]:
    data = json.loads((await receive())["body"])
    values = data["name"], date.fromisoformat(data["dob"])
    return 201, (await pool.fetchval(CREATE_AUTHOR, *values)).encode()


async def _update_author(_scope: Any, ids: list[str], receive: Receive) -> tuple[int, bytes]:
    data = json.loads((await receive())["body"])
    return 200, (await pool.fetchval(UPDATE_AUTHOR, ids[0], data["name"])).encode()


async def _delete_author(_scope: Any, ids: list[str], _receive: Receive) -> tuple[int, bytes]:
    await pool.execute(DELETE_AUTHOR, ids[0])
    return 200, b"{}"


# The function for each method and collection. The third part says whether the path has an id.
ROUTES: Final = {
    ("GET", "books", True): _read_book,
    ("GET", "books", False): _list_books,
    ("GET", "authors", True): _read_author,
    ("GET", "authors", False): _list_authors,
    ("POST", "authors", False): _create_author,
    ("PATCH", "authors", True): _update_author,
    ("DELETE", "authors", True): _delete_author,
}
