"""Streams of a real server from a large collection: in little memory, and in nobody's way."""

import asyncio
import json
import re
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from httpx import AsyncClient, AsyncHTTPTransport

from tests.support import servers
from tests.support.database_activity import COUNT_BUSY, wait_for_query_result
from tests.support.problems import check_problem
from tests.support.processes import running_server
from tests.support.rows import AUTHOR_ID
from tests.support.streamed_lists import CSV, NDJSON, get_stream

# With `pytest --dist loadfile` one process makes the large database, and only that one.
pytestmark = pytest.mark.private_database

BOOKS = 120_000
BOOK = "/books/01890000-0000-7000-9000-000000000001"
# Only what the server reads here is kept up to date: it is made in a second.
_ROWS = f"""
DROP INDEX ix_books_search, ix_books_title_id, ix_books_updated_at_id, ix_books_author_id_title_id,
    ix_books_author_id_created_at_id, ix_books_author_id_updated_at_id;
ALTER TABLE books ALTER COLUMN search DROP EXPRESSION, ALTER COLUMN search SET DEFAULT '';
SET session_replication_role = replica;
INSERT INTO authors (id, name) VALUES ('{AUTHOR_ID}', 'Author');
INSERT INTO books (id, title, author_id, created_at)
SELECT ('01890000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 'Title ' || n, '{AUTHOR_ID}',
    timestamptz '2020-01-01Z' + n * interval '1 minute'
FROM generate_series(1, {BOOKS}) n;
"""
AT_ONCE = 2.0  # seconds
BREAK_OFF = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf'
AND state = 'idle in transaction'
"""


@pytest.fixture(scope="module")
async def library(template_url: str) -> AsyncIterator[str]:
    """The URL of a large database, made once for all tests here."""
    async with servers.copy_with_rows(template_url, _ROWS) as url:
        yield url


@pytest.fixture
def private_database_url(library: str) -> str:
    return library


@asynccontextmanager
async def reading(origin: str, accept: str = NDJSON) -> AsyncIterator[AsyncIterator[bytes]]:
    """A client that has read a little of the books and reads no more; it goes away at the end."""
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)]
    transport = AsyncHTTPTransport(socket_options=small)
    async with (
        AsyncClient(base_url=origin, transport=transport) as client,
        client.stream("GET", "/books", headers={"Accept": accept}) as answer,
    ):
        assert answer.status_code == 200
        rest = answer.aiter_raw()
        await anext(rest)
        yield rest


async def said(process: Process, *words: str) -> str:
    """Read the server's log as far as a line with these words."""
    assert process.stdout
    read = ""
    async with asyncio.timeout(10):
        async for line in process.stdout:
            read += line.decode()
            if all(each in line.decode() for each in words):
                return read
    raise AssertionError(read)


async def test_who_goes_away_leaves_nothing_behind(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, DB_POOL_SIZE="4") as (process, origin),
        AsyncClient(base_url=origin) as client,
    ):
        for accept in (NDJSON, CSV, NDJSON):
            async with reading(origin, accept):
                await wait_for_query_result(1, outside_connection, COUNT_BUSY)
                refused = await get_stream(client, "/authors", accept)
                check_problem(refused, 503, "overloaded")
                assert refused.headers["retry-after"] == "1"
                answers = await asyncio.gather(*(client.get(BOOK) for _ in range(20)))
                assert {answer.status_code for answer in answers} == {200}
            await wait_for_query_result(0, outside_connection, COUNT_BUSY, AT_ONCE)
            await said(process, "request method=GET route=/books path=/books status=499")
        assert (await get_stream(client, "/authors", CSV)).status_code == 200


async def test_a_stream_that_the_database_breaks_off_has_no_proper_end(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, DB_POOL_SIZE="4") as (process, origin),
        AsyncClient(base_url=origin) as client,
    ):
        for accept in (NDJSON, CSV):
            async with reading(origin, accept) as rest:
                await wait_for_query_result(1, outside_connection, BREAK_OFF)
                with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                    async for _ in rest:
                        pass
            await said(process, "ERROR [", "request method=GET route=/books path=/books status=200")
            await wait_for_query_result(0, outside_connection, COUNT_BUSY, AT_ONCE)
            assert (await client.get(BOOK)).status_code == 200
            # Once, with the request: the server that is to cut the connection does not repeat it.
            assert "ASGI" not in await said(process, f"path={BOOK}")
            assert (await get_stream(client, "/authors", accept)).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
async def test_a_stream_takes_no_more_memory_than_a_page(database_url: str) -> None:
    async with (
        running_server(DATABASE_URL=database_url) as (process, origin),
        AsyncClient(base_url=origin, timeout=60) as client,
    ):
        (await client.get("/books?size=100")).raise_for_status()
        before, count, last = peak(process), 0, b""
        async with client.stream("GET", "/books", headers={"Accept": NDJSON}) as answer:
            async for chunk in answer.aiter_raw():
                count, last = count + chunk.count(b"\n"), (last + chunk)[-1000:]
        assert count == BOOKS
        assert json.loads(last.split(b"\n")[-2])["title"] == f"Title {BOOKS}"
        assert peak(process) - before < 25


def peak(process: Process) -> float:
    """The most memory that the process has had so far, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
