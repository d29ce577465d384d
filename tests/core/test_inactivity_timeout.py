"""The inactivity timeout ends a request whose body stalls, but not one that makes progress."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.raw_requests import open_request, post_head, upload_head
from tests.support.settings import SHORT_TIMEOUTS

pytestmark = pytest.mark.private_database

REQUEST_TIMEOUT = float(SHORT_TIMEOUTS["REQUEST_TIMEOUT"])
# A busy machine may take this much longer than the timeout.
TOLERANCE_SECONDS = 1.5
INCOMPLETE_JSON = post_head("/authors", "application/json", 30) + b'{"name": '
INCOMPLETE_UPLOAD = upload_head(2000) + START_OF_FORM


@pytest.fixture
async def origin(database_url: str) -> AsyncIterator[str]:
    """The origin of a server with a short inactivity timeout."""
    async with running_server(DATABASE_URL=database_url, **SHORT_TIMEOUTS) as (_, origin):
        yield origin


async def send_until_response(
    reader: StreamReader, writer: StreamWriter, part: bytes, pause_seconds: float
) -> bytes:
    """Send the same part of a body again and again. Return the status line of the response."""
    # Only the first line is read: bytes that arrive after the response reset the connection.
    status_line = asyncio.create_task(reader.readline())
    while not status_line.done():
        writer.write(part)
        await asyncio.wait({status_line}, timeout=pause_seconds)
    return await status_line


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
    async with (
        open_request(origin, INCOMPLETE_UPLOAD) as (reader, writer),
        asyncio.timeout(REQUEST_TIMEOUT + TOLERANCE_SECONDS),
    ):
        status_line = await send_until_response(reader, writer, b".", pause_seconds=0.1)
    assert status_line.startswith(b"HTTP/1.1 408 ")


async def test_upload_in_bursts_below_the_minimum_rate_is_408(database_url: str) -> None:
    settings = {"MIN_BODY_RATE": "1MiB", **SHORT_TIMEOUTS}
    async with (
        running_server(DATABASE_URL=database_url, **settings) as (_, origin),
        asyncio.timeout(TIMEOUT_SECONDS),
        open_request(origin, upload_head(10**9) + START_OF_FORM) as (reader, writer),
    ):
        status_line = await send_until_response(reader, writer, bytes(64 * 1024), pause_seconds=0.5)
    assert status_line.startswith(b"HTTP/1.1 408 ")


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
