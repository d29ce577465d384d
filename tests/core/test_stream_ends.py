"""Streams that do not go well: clients that go away or only stop reading, a database that fails.

However one ends, its connection and its place among the streams are free again.
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

from app.core.db import Database
from app.core.db._listing import FETCH_SIZE
from app.core.errors import Overloaded
from app.core.http import _stream_response as stream_response
from app.settings import Settings
from tests.conftest import make_settings
from tests.support.access_log import logged_requests
from tests.support.database_activity import COUNT_BUSY, COUNT_SLEEPING, wait_for_query_result
from tests.support.problems import check_problem
from tests.support.resources import replace_resources
from tests.support.rows import fill_tables
from tests.support.streamed_lists import CSV, NDJSON, asgi_scope, get_stream, read_json_lines

pytestmark = pytest.mark.private_database

AT_ONCE = 2.0  # seconds
PLACES = Settings.model_fields["db_pool_size"].default // 4
# Each of the rows beyond the first FETCH_SIZE is an hour's work.
SLOW = f"""
CREATE SEQUENCE looked_at;
CREATE OR REPLACE FUNCTION search_query(text) RETURNS tsquery LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF nextval('looked_at') > {FETCH_SIZE} THEN PERFORM pg_sleep(3600); END IF;
    RETURN 'title';
END $$;
"""


class Client:
    """A client at the other end of an ASGI server that goes away, or stays and stops reading."""

    def __init__(self, chunks: int) -> None:
        self.chunks, self.gone = chunks, asyncio.Event()  # how many it reads
        self.full, self.messages = asyncio.Event(), list[Message]()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if len(self.messages) > self.chunks + 1:  # the first one is the status
            self.full.set()
            await asyncio.Event().wait()


@pytest.fixture(autouse=True)
async def free_again(
    database: Database, outside_connection: asyncpg.Connection
) -> AsyncIterator[None]:
    """After each test every connection is back, and every place among the streams."""
    yield
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    await wait_for_query_result(0, outside_connection, COUNT_BUSY, AT_ONCE)
    async with AsyncExitStack() as stack:
        for _ in range(PLACES):
            await stack.enter_async_context(database.streaming_transaction())
        with pytest.raises(Overloaded):
            await stack.enter_async_context(database.streaming_transaction())


@pytest.mark.parametrize("chunks", [0, 2])
async def test_who_stops_reading_is_given_up(
    app: FastAPI,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    chunks: int,
) -> None:
    monkeypatch.setattr(stream_response, "SEND_TIMEOUT", 0.05)
    await fill_tables(database, 5 * FETCH_SIZE)
    client = Client(chunks)
    with caplog.at_level(logging.INFO, "app.access"):
        async with asyncio.timeout(AT_ONCE):
            await app(asgi_scope("/books"), client.receive, client.send)
    assert len(client.messages) == chunks + 2
    assert client.messages[-1]["more_body"]
    assert logged_requests(caplog) == [("GET", "/books", 499)]


async def test_who_reads_slowly_but_reads_is_not(
    app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_response, "SEND_TIMEOUT", 0.5)
    await fill_tables(database, 12 * FETCH_SIZE)
    client = Client(100)

    async def slowly(message: Message) -> None:
        await asyncio.sleep(0.05)  # waits for nothing: it is what such a client does
        await client.send(message)

    await app(asgi_scope("/books"), client.receive, slowly)
    assert b"".join(m.get("body", b"") for m in client.messages).count(b"\n") == 12 * FETCH_SIZE
    assert not client.messages[-1]["more_body"]


@pytest.mark.parametrize("chunks", [0, 2])
async def test_who_goes_away_frees_the_connection_at_once(
    app: FastAPI, database: Database, caplog: pytest.LogCaptureFixture, chunks: int
) -> None:
    await fill_tables(database, 5 * FETCH_SIZE)
    client = Client(chunks)
    with caplog.at_level(logging.INFO, "app.access"):
        stream = asyncio.create_task(app(asgi_scope("/books"), client.receive, client.send))
        await client.full.wait()
        client.gone.set()
        async with asyncio.timeout(AT_ONCE):
            await stream
    assert logged_requests(caplog) == [("GET", "/books", 499)]


async def test_who_goes_away_while_the_database_works_frees_the_connection_at_once(
    app: FastAPI, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await fill_tables(database, 2 * FETCH_SIZE)
    await outside_connection.execute(SLOW)
    client = Client(100)
    task = app(asgi_scope("/books", query="q=title"), client.receive, client.send)
    stream = asyncio.create_task(task)
    await wait_for_query_result(1, outside_connection, COUNT_SLEEPING)
    client.gone.set()
    async with asyncio.timeout(AT_ONCE):
        await stream
    await wait_for_query_result(0, outside_connection, COUNT_BUSY, AT_ONCE)


async def test_a_server_that_ends_frees_the_connection(app: FastAPI, database: Database) -> None:
    await fill_tables(database, 5 * FETCH_SIZE)
    client = Client(1)
    stream = asyncio.create_task(app(asgi_scope("/books"), client.receive, client.send))
    await client.full.wait()
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream


async def test_only_so_many_streams_are_read_at_a_time(
    app: FastAPI, client: AsyncClient, database: Database
) -> None:
    await fill_tables(database, 5 * FETCH_SIZE)
    readers = [Client(1) for _ in range(PLACES)]
    tasks = [
        asyncio.create_task(app(asgi_scope("/books"), reader.receive, reader.send))
        for reader in readers
    ]
    for reader in readers:
        await reader.full.wait()
    for path, accept in (("/books", NDJSON), ("/authors", CSV)):
        answer = await get_stream(client, path, accept)
        check_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert (await client.head(path, headers={"Accept": accept})).status_code == 200
        assert (await client.get(path)).status_code == 200
    readers[0].gone.set()
    await tasks[0]
    assert len(await read_json_lines(client, "/books")) == 5 * FETCH_SIZE
    for reader in readers:
        reader.gone.set()
    await asyncio.gather(*tasks)


async def test_a_stream_that_is_refused_takes_no_place(client: AsyncClient) -> None:
    for _ in range(PLACES + 1):
        assert (await get_stream(client, "/books?page=1")).status_code == 422
        assert (await get_stream(client, "/books?x=1")).status_code == 422
        assert (await client.head("/books", headers={"Accept": CSV})).status_code == 200


# The database


async def test_a_database_that_is_down_is_a_problem_and_no_lines(
    app: FastAPI, client: AsyncClient
) -> None:
    replace_resources(app, database=Database(make_settings("postgresql://127.0.0.1:1/none")))
    for path, accept in (("/authors", CSV), ("/books", NDJSON)):
        answer = await get_stream(client, path, accept)
        check_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_what_fails_before_the_first_line_is_a_problem(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("DROP FUNCTION search_query")
    for accept in (NDJSON, CSV) * PLACES:
        check_problem(await get_stream(client, "/books?q=title", accept), 500, "internal-error")


async def test_a_stream_that_gets_no_connection_is_refused(
    app: FastAPI, client: AsyncClient, private_database_url: str
) -> None:
    small = Database(make_settings(private_database_url, db_pool_size=1, db_pool_timeout=0.1))
    replace_resources(app, database=small)
    async with small.transaction() as session:
        await session.execute(text("SELECT 1"))
        answer = await get_stream(client, "/books")
        check_problem(answer, 503, "overloaded")
        assert answer.headers["retry-after"] == "1"
    assert (await get_stream(client, "/books")).status_code == 200
    await small.close()
