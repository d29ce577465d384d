"""Streams of a large list from a real server: they take little memory and block no requests."""

import asyncio
import json
from pathlib import Path

import asyncpg
import httpx
import pytest
from httpx import AsyncClient

from tests.support.access_log import read_log_until
from tests.support.database_activity import COUNT_BUSY, wait_for_query_result
from tests.support.many_books import BOOKS, FIRST_BOOK_PATH, open_stream
from tests.support.problems import check_too_many_requests
from tests.support.processes import peak_memory, running_server
from tests.support.streamed_lists import CSV, NDJSON, get_stream, stream_url

# With `pytest --dist loadfile`, only one process creates the large database.
pytestmark = pytest.mark.private_database

RELEASE_TIMEOUT = 2.0  # seconds
TERMINATE_STREAM = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf'
AND state = 'idle in transaction'
"""


@pytest.fixture
def private_database_url(template_with_many_books: str) -> str:
    return template_with_many_books


async def test_disconnected_client_leaves_no_query_running(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, DB_POOL_SIZE="4") as (process, origin),
        AsyncClient(base_url=origin) as client,
    ):
        for extension in (NDJSON, CSV, NDJSON):
            async with open_stream(origin, extension):
                await wait_for_query_result(1, outside_connection, COUNT_BUSY)
                second_stream = await get_stream(client, "/authors", extension)
                check_too_many_requests(second_stream)
                responses = await asyncio.gather(*(client.get(FIRST_BOOK_PATH) for _ in range(20)))
                assert {response.status_code for response in responses} == {200}
            await wait_for_query_result(0, outside_connection, COUNT_BUSY, RELEASE_TIMEOUT)
            path = stream_url("/books", extension)
            await read_log_until(process, f"request method=GET route={path} path={path} status=499")
        assert (await get_stream(client, "/authors", CSV)).status_code == 200


async def test_stream_interrupted_by_database_is_truncated(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, DB_POOL_SIZE="4") as (process, origin),
        AsyncClient(base_url=origin) as client,
    ):
        for extension in (NDJSON, CSV):
            async with open_stream(origin, extension) as chunks:
                await wait_for_query_result(1, outside_connection, TERMINATE_STREAM)
                with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                    async for _ in chunks:
                        pass
            path = stream_url("/books", extension)
            await read_log_until(
                process, "ERROR [", f"request method=GET route={path} path={path} status=200"
            )
            await wait_for_query_result(0, outside_connection, COUNT_BUSY, RELEASE_TIMEOUT)
            assert (await client.get(FIRST_BOOK_PATH)).status_code == 200
            # The error is logged once, with the request. uvicorn does not log it again.
            assert "ASGI" not in await read_log_until(process, f"path={FIRST_BOOK_PATH}")
            assert (await get_stream(client, "/authors", extension)).status_code == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
async def test_stream_takes_no_more_memory_than_page(database_url: str) -> None:
    async with (
        running_server(DATABASE_URL=database_url) as (process, origin),
        AsyncClient(base_url=origin, timeout=60) as client,
    ):
        (await client.get("/books?size=100")).raise_for_status()
        before, count, last = peak_memory(process), 0, b""
        async with client.stream("GET", "/books.ndjson") as response:
            async for chunk in response.aiter_raw():
                count, last = count + chunk.count(b"\n"), (last + chunk)[-1000:]
        assert count == BOOKS
        assert json.loads(last.split(b"\n")[-2])["title"] == f"Title {BOOKS}"
        assert peak_memory(process) - before < 25
