"""The inactivity timeout ends a request whose body stalls, but not one that makes progress."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.raw_requests import open_request, post_head, upload_head

pytestmark = pytest.mark.private_database

REQUEST_TIMEOUT = 2.0  # seconds
# A busy machine may take this much longer than the timeout.
TOLERANCE_SECONDS = 1.5
INCOMPLETE_JSON = post_head("/authors", "application/json", 30) + b'{"name": '
INCOMPLETE_UPLOAD = upload_head(2000) + START_OF_FORM


@pytest.fixture
async def origin(database_url: str) -> AsyncIterator[str]:
    """The origin of a server with a short inactivity timeout."""
    async with running_server(
        DATABASE_URL=database_url,
        REQUEST_TIMEOUT=f"{REQUEST_TIMEOUT}",
        # The settings require that these are shorter.
        DB_POOL_TIMEOUT="0.5",
        DB_STATEMENT_TIMEOUT="1",
    ) as (_, origin):
        yield origin


@pytest.mark.parametrize("first_bytes", [INCOMPLETE_JSON, INCOMPLETE_UPLOAD], ids=["JSON", "file"])
async def test_body_that_stalls_is_408_and_closes_the_connection(
    origin: str, first_bytes: bytes
) -> None:
    async with (
        open_request(origin, first_bytes) as (reader, _),
        asyncio.timeout(REQUEST_TIMEOUT + TOLERANCE_SECONDS),
    ):
        response = (await reader.read()).decode()
    assert response.startswith("HTTP/1.1 408 ")
    assert "connection: close" in response.lower()
    assert "request-timeout" in response


async def test_body_sent_in_single_bytes_is_408(origin: str) -> None:
    async with open_request(origin, INCOMPLETE_UPLOAD) as (reader, writer):
        # Only the first line is read: bytes that arrive after the response reset the connection.
        status_line = asyncio.create_task(reader.readline())
        async with asyncio.timeout(REQUEST_TIMEOUT + TOLERANCE_SECONDS):
            while not status_line.done():
                writer.write(b".")
                await asyncio.wait({status_line}, timeout=0.1)
        assert (await status_line).startswith(b"HTTP/1.1 408 ")


async def test_upload_in_bursts_below_the_minimum_rate_is_408(database_url: str) -> None:
    settings = {"DB_POOL_TIMEOUT": "0.5", "DB_STATEMENT_TIMEOUT": "1", "MIN_BODY_RATE": "1MiB"}
    async with (
        running_server(DATABASE_URL=database_url, REQUEST_TIMEOUT="2", **settings) as (_, origin),
        asyncio.timeout(TIMEOUT_SECONDS),
        open_request(origin, upload_head(10**9) + START_OF_FORM) as (reader, writer),
    ):
        status_line = asyncio.create_task(reader.readline())
        while not status_line.done():
            writer.write(bytes(64 * 1024))
            await asyncio.wait({status_line}, timeout=0.5)
        assert (await status_line).startswith(b"HTTP/1.1 408 ")


async def test_upload_that_makes_progress_may_take_longer_than_the_timeout(origin: str) -> None:
    chunk = bytes(64 * 1024)
    chunk_count = 10
    length = len(START_OF_FORM) + chunk_count * len(chunk) + len(END_OF_FORM)
    async with open_request(origin, upload_head(length) + START_OF_FORM) as (reader, writer):
        started_at = monotonic()
        for _ in range(chunk_count):
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(1.5 * REQUEST_TIMEOUT / chunk_count)
        writer.write(END_OF_FORM)
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")
        assert monotonic() - started_at > REQUEST_TIMEOUT
