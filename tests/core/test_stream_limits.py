"""Limits of streams on a real server: per caller, a minimum rate, and a deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.access_log import read_log_until
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.database_activity import COUNT_BUSY, wait_for_query_result
from tests.support.many_books import FIRST_BOOK_PATH, open_stream, request_stream
from tests.support.problems import check_too_many_requests
from tests.support.processes import running_server
from tests.support.settings import SHORT_TIMEOUTS

# With `pytest --dist loadfile`, only one process creates the large database.
pytestmark = pytest.mark.private_database

# The parts of five streams, which are a quarter of the connection pool.
STREAMS_PER_USER = 2
STREAMS_PER_NETWORK = 3


@pytest.fixture
def private_database_url(template_with_many_books: str) -> str:
    return template_with_many_books


async def read_slowly(chunks: AsyncIterator[bytes]) -> None:
    """Read a stream to its end, always, but never quickly."""
    async for _ in chunks:
        await asyncio.sleep(0.03)


async def check_stream_is_refused(origin: str, headers: dict[str, str]) -> None:
    """Check that a caller cannot have another stream."""
    async with request_stream(origin, headers=headers) as response:
        await response.aread()
    check_too_many_requests(response)


async def test_user_with_too_many_streams_gets_429_and_another_user_gets_a_stream(
    database_url: str, database: Database
) -> None:
    user = await create_user_with_token(database)
    other_user = await create_user_with_token(database)
    async with running_server(DATABASE_URL=database_url) as (_, origin), AsyncExitStack() as stack:
        for _ in range(STREAMS_PER_USER):
            await stack.enter_async_context(open_stream(origin, headers=user.headers))
        await check_stream_is_refused(origin, user.headers)
        async with AsyncClient(base_url=origin, headers=user.headers) as client:
            assert (await client.get(FIRST_BOOK_PATH)).status_code == 200
        async with open_stream(origin, headers=other_user.headers):
            pass


async def test_network_with_too_many_streams_gets_429_and_another_network_gets_a_stream(
    database_url: str,
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, TRUSTED_PROXIES="127.0.0.1") as (_, origin),
        AsyncExitStack() as stack,
    ):
        for number in range(STREAMS_PER_NETWORK):
            headers = {"X-Forwarded-For": f"2001:db8:0:{number}::1"}
            await stack.enter_async_context(open_stream(origin, headers=headers))
        await check_stream_is_refused(origin, {"X-Forwarded-For": "2001:db8:0:ff::1"})
        async with open_stream(origin, headers={"X-Forwarded-For": "2001:db8:1::"}):
            pass


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"MIN_STREAM_RATE": "1GiB", **SHORT_TIMEOUTS}, "the client reads too slowly"),
        ({"STREAM_TIMEOUT": "2"}, "the stream took more than 2 seconds"),
    ],
    ids=["rate", "deadline"],
)
async def test_stream_that_is_cut_off_is_incomplete_and_logged_without_traceback(
    settings: dict[str, str], reason: str, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with running_server(DATABASE_URL=database_url, **settings) as (process, origin):
        async with open_stream(origin) as chunks:
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                await read_slowly(chunks)
        await wait_for_query_result(0, outside_connection, COUNT_BUSY)
        async with AsyncClient(base_url=origin) as client:
            assert (await client.get(FIRST_BOOK_PATH)).status_code == 200
        log = await read_log_until(process, f"path={FIRST_BOOK_PATH}")
    [line] = [line for line in log.splitlines() if "path=/books.ndjson " in line]
    assert " WARNING " in line
    assert f"status=499 cut_off={reason} " in line
    assert "Traceback" not in log
    assert " ERROR " not in log
