"""Connections of clients that send too slowly, or that still send after their last response."""

import asyncio

import pytest
from starlette.types import Receive, Send
from uvicorn.server import ServerState

from app.core.server import _drain as drain
from app.core.server import _protocol as protocol
from tests.support.connections import tcp_connection, write_until_disconnected
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.protocol_server import (
    GET_REQUEST,
    MALFORMED,
    RecordingApp,
    read_body,
    respond_ok,
    send_body,
    serving_app,
    serving_responses,
    start_response,
    wait_until_server_has_read,
)
from tests.support.raw_requests import exchange_bytes, post_head, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
SHORT_TIMEOUT = 0.1  # seconds
# Longer than any test may take, so that a test fails if it waits for this timeout.
LONG_TIMEOUT = 10 * TIMEOUT_SECONDS
CLOSE = b"\r\nconnection: close\r\n"
UPLOAD_HEAD = post_head("/", "text/plain", 10**9)
MIB = 1024 * 1024
INCOMPLETE_HEAD = b"GET / HTTP/1.1\r\nHost: te"


@pytest.fixture
def short_head_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", SHORT_TIMEOUT)


async def send_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send single bytes until the server closes the connection. Return what it has sent."""
    responses = asyncio.create_task(reader.read())
    while not responses.done():
        writer.write(b"x")
        await asyncio.wait({responses}, timeout=SHORT_TIMEOUT / 10)
    return await responses


# Early responses


async def test_response_before_the_end_of_the_body_closes_the_connection() -> None:
    async with serving_responses(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(UPLOAD_HEAD + b"start")
        response = await reader.read()
    assert response_statuses(response) == [200]
    assert CLOSE in response
    assert response.endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"])
async def test_response_after_the_whole_body_has_arrived_keeps_the_connection(body: bytes) -> None:
    request = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    async with serving_responses(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        for _ in range(2):
            writer.write(request)
            assert CLOSE not in await reader.readuntil(b"ok")


async def test_bytes_behind_an_early_response_are_no_request() -> None:
    request_count = 0

    async def respond(receive: Receive, send: Send) -> None:
        nonlocal request_count
        request_count += 1
        await respond_ok(receive, send)

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(post_head("/", "text/plain", len(GET_REQUEST)))
        await reader.readuntil(b"ok")
        writer.write(GET_REQUEST + GET_REQUEST + MALFORMED)
        await wait_until_server_has_read(origin)
        assert await reader.read() == b""
    assert request_count == 1


async def test_final_response_instead_of_100_continue_closes_the_connection() -> None:
    request = UPLOAD_HEAD.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    async with serving_responses(respond_ok) as origin:
        response = await exchange_bytes(origin, request)
    assert response_statuses(response) == [200]
    assert CLOSE in response


async def test_client_that_sends_all_of_a_rejected_body_can_read_the_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain, "DRAIN_INTERVAL_SECONDS", LONG_TIMEOUT)
    body = bytes(MIB)
    async with serving_responses(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(post_head("/", "text/plain", 100 * len(body)))
        for _ in range(100):
            writer.write(body)
            await writer.drain()
        assert (await reader.read()).endswith(b"\r\n\r\nok")


async def test_client_that_stops_sending_after_an_early_response_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drain, "DRAIN_INTERVAL_SECONDS", SHORT_TIMEOUT)
    state = ServerState()
    async with (
        serving_responses(respond_ok, state) as origin,
        tcp_connection(origin) as (reader, writer),
    ):
        writer.write(UPLOAD_HEAD)
        await reader.read()

        async def is_disconnected() -> bool:
            return not state.connections

        await poll_until(is_disconnected)


@pytest.mark.parametrize(
    ("limit", "value", "chunk"),
    [
        ("DRAIN_INTERVAL_SECONDS", SHORT_TIMEOUT, b"x"),
        ("DRAIN_TIMEOUT_SECONDS", SHORT_TIMEOUT, bytes(64 * 1024)),
        ("MAX_DRAINED_BYTES", MIB, bytes(64 * 1024)),
    ],
    ids=["too slowly", "too long", "too much"],
)
async def test_client_that_goes_on_sending_is_disconnected_after_an_early_response(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: float, chunk: bytes
) -> None:
    monkeypatch.setattr(drain, "DRAIN_INTERVAL_SECONDS", 3 * SHORT_TIMEOUT)
    monkeypatch.setattr(drain, "DRAIN_TIMEOUT_SECONDS", LONG_TIMEOUT)
    monkeypatch.setattr(drain, limit, value)
    async with serving_responses(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(UPLOAD_HEAD)
        await reader.read()
        await write_until_disconnected(writer, chunk, pause=SHORT_TIMEOUT / 50)


# Timeouts of heads


@pytest.mark.usefixtures("short_head_timeout")
async def test_head_that_arrives_in_single_bytes_is_408() -> None:
    async with serving_app(RecordingApp()) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_HEAD)
        response = await send_until_closed(reader, writer)
    assert response_statuses(response) == [408]
    assert b"application/problem+json" in response
    assert CLOSE in response


@pytest.mark.usefixtures("short_head_timeout")
async def test_incomplete_head_behind_a_response_is_408() -> None:
    async with serving_app(RecordingApp()) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST + INCOMPLETE_HEAD)
        assert response_statuses(await reader.read()) == [200, 408]


@pytest.mark.usefixtures("short_head_timeout")
async def test_connection_without_a_request_is_closed_without_a_response() -> None:
    async with serving_app(RecordingApp()) as origin:
        assert await exchange_bytes(origin, b"") == b""


@pytest.mark.usefixtures("short_head_timeout")
async def test_empty_lines_do_not_keep_a_new_connection() -> None:
    async with serving_app(RecordingApp()) as origin, tcp_connection(origin) as (_, writer):
        await write_until_disconnected(writer, b"\r\n", pause=SHORT_TIMEOUT / 10)


@pytest.mark.usefixtures("short_head_timeout")
async def test_empty_lines_behind_a_request_do_not_keep_the_connection() -> None:
    async with serving_app(RecordingApp()) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        await reader.readuntil(b"ok")
        await write_until_disconnected(writer, b"\r\n", pause=SHORT_TIMEOUT / 10)


@pytest.mark.usefixtures("short_head_timeout")
async def test_response_may_take_longer_than_the_head_of_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_complete = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await read_body(receive)
        await start_response(send, content_length=2)
        await may_complete.wait()
        await send_body(send, b"ok")

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST + INCOMPLETE_HEAD)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2 * SHORT_TIMEOUT)
        # The time of the incomplete head begins after the response.
        monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", LONG_TIMEOUT)
        may_complete.set()
        await reader.readexactly(len(b"ok"))
        writer.write(b"st\r\nConnection: close\r\n\r\n")
        assert response_statuses(await reader.read()) == [200]


@pytest.mark.usefixtures("short_head_timeout")
async def test_malformed_bytes_behind_a_long_response_do_not_time_out() -> None:
    may_complete = asyncio.Event()

    async def respond(_: Receive, send: Send) -> None:
        await start_response(send, content_length=2)
        await may_complete.wait()
        await send_body(send, b"ok")

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST + MALFORMED)
        response = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2 * SHORT_TIMEOUT)
        may_complete.set()
        response += await reader.read()
    assert response_statuses(response) == [200, 400]


async def test_service_closes_the_connection_of_a_client_that_trickles_after_415(
    private_database_url: str,
) -> None:
    async with (
        running_server(DATABASE_URL=private_database_url) as (_, origin),
        tcp_connection(origin) as (reader, writer),
    ):
        writer.write(post_head("/authors", "text/plain", 1000))
        response = await reader.read()
        assert response_statuses(response) == [415]
        assert CLOSE in response
        await write_until_disconnected(writer, b"x", pause=SHORT_TIMEOUT)
