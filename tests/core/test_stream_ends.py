"""Streams that end early: the client disconnects or stops reading, or the database fails.

However a stream ends, its connection is returned and it no longer counts as a concurrent stream.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.pool import QueuePool
from starlette.types import Message

from app.core.caller_limits import Caller
from app.core.db import Database
from app.core.db._listing import FETCH_SIZE
from app.core.errors import Overloaded
from app.core.http import StreamCutOff
from app.settings import Settings
from tests.support.access_log import logged_requests
from tests.support.database_activity import COUNT_BUSY, COUNT_SLEEPING, wait_for_query_result
from tests.support.problems import check_problem
from tests.support.resources import replace_resources
from tests.support.rows import fill_tables
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings
from tests.support.streamed_lists import (
    CSV,
    NDJSON,
    asgi_scope,
    get_stream,
    read_json_lines,
    stream_url,
)

pytestmark = pytest.mark.private_database

RELEASE_TIMEOUT = 2.0  # seconds
# A quarter of the pool, so that streams leave connections for other requests.
MAX_STREAMS = Settings.model_fields["db_pool_size"].default // 4
# Makes the database sleep for an hour at each row of a search after the first FETCH_SIZE rows.
SLOW_SEARCH = f"""
CREATE SEQUENCE searched_rows;
CREATE OR REPLACE FUNCTION search_terms_query(value text) RETURNS tsquery
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF nextval('searched_rows') > {FETCH_SIZE} THEN PERFORM pg_sleep(3600); END IF;
    RETURN 'title';
END $$;
"""


class Client:
    """An ASGI client that reads some chunks of a response, and then stops reading.

    Args:
        chunks: How many chunks the client reads.
    """

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.messages: list[Message] = []
        # Set when the client has read its chunks and stops reading.
        self.stopped_reading = asyncio.Event()
        # Set by a test to disconnect the client.
        self.disconnected = asyncio.Event()

    async def receive(self) -> Message:
        await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if len(self.messages) > self.chunks + 1:  # the first one is the status
            self.stopped_reading.set()
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
async def assert_resources_released(
    database: Database, outside_connection: asyncpg.Connection
) -> AsyncIterator[None]:
    """Check after each test that no connection is checked out and no stream is counted."""
    yield
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    await wait_for_query_result(0, outside_connection, COUNT_BUSY, RELEASE_TIMEOUT)
    async with AsyncExitStack() as stack:
        for _ in range(MAX_STREAMS):
            await stack.enter_async_context(database.streaming_transaction(Caller()))
        with pytest.raises(Overloaded):
            await stack.enter_async_context(database.streaming_transaction(Caller()))


@pytest.mark.parametrize("chunks", [0, 2])
async def test_client_that_stops_reading_is_disconnected(
    app: FastAPI,
    database: Database,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    chunks: int,
) -> None:
    settings.request_timeout = 0.05
    await fill_tables(database, 5 * FETCH_SIZE)
    client = Client(chunks)
    with caplog.at_level(logging.INFO, "app.access"):
        async with asyncio.timeout(RELEASE_TIMEOUT):
            with pytest.raises(StreamCutOff):
                await app(asgi_scope("/books.ndjson"), client.receive, client.send)
    assert len(client.messages) == chunks + 2
    assert client.messages[-1]["more_body"]
    assert logged_requests(caplog) == [("GET", "/books.ndjson", 499)]


async def test_slow_client_is_not_disconnected(
    app: FastAPI, database: Database, settings: Settings
) -> None:
    settings.request_timeout = 0.5
    await fill_tables(database, 12 * FETCH_SIZE)
    client = Client(100)

    async def send_slowly(message: Message) -> None:
        await asyncio.sleep(0.05)
        await client.send(message)

    await app(asgi_scope("/books.ndjson"), client.receive, send_slowly)
    assert b"".join(m.get("body", b"") for m in client.messages).count(b"\n") == 12 * FETCH_SIZE
    assert not client.messages[-1]["more_body"]


@pytest.mark.parametrize("chunks", [0, 2])
async def test_disconnect_releases_connection(
    app: FastAPI, database: Database, caplog: pytest.LogCaptureFixture, chunks: int
) -> None:
    await fill_tables(database, 5 * FETCH_SIZE)
    client = Client(chunks)
    with caplog.at_level(logging.INFO, "app.access"):
        stream = asyncio.create_task(app(asgi_scope("/books.ndjson"), client.receive, client.send))
        await client.stopped_reading.wait()
        client.disconnected.set()
        async with asyncio.timeout(RELEASE_TIMEOUT):
            await stream
    assert logged_requests(caplog) == [("GET", "/books.ndjson", 499)]


async def test_disconnect_during_fetch_releases_connection(
    app: FastAPI, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await fill_tables(database, 2 * FETCH_SIZE)
    await outside_connection.execute(SLOW_SEARCH)
    client = Client(100)
    task = app(asgi_scope("/books.ndjson", query="q=title"), client.receive, client.send)
    stream = asyncio.create_task(task)
    await wait_for_query_result(1, outside_connection, COUNT_SLEEPING)
    client.disconnected.set()
    async with asyncio.timeout(RELEASE_TIMEOUT):
        await stream
    await wait_for_query_result(0, outside_connection, COUNT_BUSY, RELEASE_TIMEOUT)


async def test_cancelled_stream_releases_connection(app: FastAPI, database: Database) -> None:
    await fill_tables(database, 5 * FETCH_SIZE)
    client = Client(1)
    stream = asyncio.create_task(app(asgi_scope("/books.ndjson"), client.receive, client.send))
    await client.stopped_reading.wait()
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream


async def test_number_of_concurrent_streams_is_limited(
    app: FastAPI, client: AsyncClient, database: Database
) -> None:
    await fill_tables(database, 5 * FETCH_SIZE)
    readers = [Client(1) for _ in range(MAX_STREAMS)]
    tasks = []
    for number, reader in enumerate(readers):
        # The streams of one network are limited to fewer.
        scope = asgi_scope("/books.ndjson")
        scope["client"] = (f"192.0.2.{number}", 1)
        tasks.append(asyncio.create_task(app(scope, reader.receive, reader.send)))
    for reader in readers:
        await reader.stopped_reading.wait()
    for path, extension in (("/books", NDJSON), ("/authors", CSV)):
        response = await get_stream(client, path, extension)
        check_problem(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"
        assert (await client.head(stream_url(path, extension))).status_code == 200
        assert (await client.get(path)).status_code == 200
    readers[0].disconnected.set()
    await tasks[0]
    assert len(await read_json_lines(client, "/books")) == 5 * FETCH_SIZE
    for reader in readers:
        reader.disconnected.set()
    await asyncio.gather(*tasks)


async def test_rejected_stream_does_not_count_as_concurrent(client: AsyncClient) -> None:
    for _ in range(MAX_STREAMS + 1):
        assert (await get_stream(client, "/books?page=1")).status_code == 422
        assert (await get_stream(client, "/books?x=1")).status_code == 422
        assert (await client.head("/books.csv")).status_code == 200


async def test_stream_returns_503_when_database_is_down(app: FastAPI, client: AsyncClient) -> None:
    replace_resources(app, database=Database(make_settings(UNREACHABLE_DATABASE_URL)))
    for path, extension in (("/authors", CSV), ("/books", NDJSON)):
        response = await get_stream(client, path, extension)
        check_problem(response, 503, "unavailable")
        assert response.headers["retry-after"] == "1"


async def test_error_before_first_line_returns_problem(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("DROP FUNCTION search_terms_query")
    for extension in (NDJSON, CSV) * MAX_STREAMS:
        check_problem(await get_stream(client, "/books?q=title", extension), 500, "internal-error")


async def test_stream_without_free_connection_returns_503(
    app: FastAPI, client: AsyncClient, private_database_url: str
) -> None:
    database = Database(make_settings(private_database_url, db_pool_size=1, db_pool_timeout=0.1))
    replace_resources(app, database=database)
    async with database.transaction() as session:
        await session.execute(text("SELECT 1"))
        response = await get_stream(client, "/books")
        check_problem(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"
    assert (await get_stream(client, "/books")).status_code == 200
    await database.close()
