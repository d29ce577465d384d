"""A list of books that is too large for the buffers between a server and a client."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from httpx import AsyncClient, AsyncHTTPTransport, Response

from tests.support.rows import AUTHOR_ID
from tests.support.streamed_lists import NDJSON, stream_url

BOOKS = 120_000
FIRST_BOOK_PATH = "/books/01890000-0000-7000-9000-000000000001"
# Creates the rows in about a second: indexes that no test needs are dropped.
INSERT_BOOKS = f"""
DROP INDEX ix_books_title_terms, ix_books_title_sort_key_id, ix_books_author_id_title_sort_key_id,
    ix_books_updated_at_id, ix_books_author_id_created_at_id, ix_books_author_id_updated_at_id;
SET session_replication_role = replica;
INSERT INTO authors (id, name) VALUES ('{AUTHOR_ID}', 'Author');
INSERT INTO books (id, title, author_id, created_at)
SELECT ('01890000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 'Title ' || n, '{AUTHOR_ID}',
    timestamptz '2020-01-01Z' + n * interval '1 minute'
FROM generate_series(1, {BOOKS}) n;
"""


@asynccontextmanager
async def request_stream(
    origin: str, extension: str = NDJSON, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Response]:
    """Request all books, and yield the response before its body is read.

    The client has small buffers, and disconnects when the block ends.
    """
    small_receive_buffer = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)]
    transport = AsyncHTTPTransport(socket_options=small_receive_buffer)
    async with (
        AsyncClient(base_url=origin, transport=transport, timeout=30) as client,
        client.stream("GET", stream_url("/books", extension), headers=headers) as response,
    ):
        yield response


@asynccontextmanager
async def open_stream(
    origin: str, extension: str = NDJSON, headers: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Read the first chunk of the streamed books, and yield an iterator over the others.

    The client disconnects when the block ends.
    """
    async with request_stream(origin, extension, headers) as response:
        assert response.status_code == 200
        chunks = response.aiter_raw()
        await anext(chunks)
        yield chunks
