"""Clients that read a response slowly or not at all."""

import asyncio
from typing import cast

import pytest
from starlette.types import Receive, Send
from uvicorn.server import ServerState

from app.core.server import _drain as drain
from app.core.server import _flow_control as flow_control
from tests.support.connections import tcp_connection
from tests.support.processes import poll_until
from tests.support.protocol_server import (
    GET_REQUEST,
    INCOMPLETE_POST_REQUEST,
    Respond,
    respond_ok,
    send_body,
    send_until_disconnected,
    serving_responses,
    start_response,
    start_response_of_unknown_length,
    wait_until_server_has_read,
)
from tests.support.raw_requests import response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
SHORT_TIMEOUT = 0.1  # seconds
CHUNK = bytes(16 * 1024)
CLOSING_REQUEST = GET_REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture
def state() -> ServerState:
    """Return the state of the server, which has at most one connection."""
    return ServerState()


@pytest.fixture
def respond_until_unread(state: ServerState) -> Respond:
    """Return a handler whose response ends when its last bytes wait for the client to read."""

    async def respond(_: Receive, send: Send) -> None:
        (connection,) = state.connections
        transport: asyncio.Transport = connection.transport
        await start_response_of_unknown_length(send)
        while transport.get_write_buffer_size() == 0:
            await send_body(send, CHUNK, more=True)
            # Let the event loop send the chunk.
            await asyncio.sleep(0)
        await send_body(send, b"")

    return respond


def client_transport(writer: asyncio.StreamWriter) -> asyncio.Transport:
    """Return the transport of a client, which can stop reading."""
    # A transport of TCP also reads, although the type of the attribute does not say so.
    return cast("asyncio.Transport", writer.transport)


async def read_slowly(reader: asyncio.StreamReader) -> None:
    """Read a response to its end, but with pauses."""
    while await reader.read(64 * 1024):
        await asyncio.sleep(0.001)


async def wait_until_closed(state: ServerState) -> None:
    """Wait until the server has closed all connections, and has ended all requests."""

    async def is_closed() -> bool:
        return not state.connections and not state.tasks

    await poll_until(is_closed)


async def test_connection_of_client_that_does_not_read_is_reset(
    state: ServerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_control, "UNREAD_TIMEOUT_SECONDS", SHORT_TIMEOUT)
    is_disconnected = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await send_until_disconnected(receive, send, CHUNK)
        is_disconnected.set()

    async with (
        serving_responses(respond, state) as origin,
        tcp_connection(origin) as (reader, writer),
    ):
        client_transport(writer).pause_reading()
        writer.write(GET_REQUEST)
        await is_disconnected.wait()
        await wait_until_closed(state)
        # A reset, not the end of the connection: the system keeps no bytes for the client.
        client_transport(writer).resume_reading()
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_connection_of_client_that_reads_below_the_minimum_rate_is_reset(
    state: ServerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_control, "UNREAD_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(flow_control, "MIN_READ_RATE", 10**12)
    large_body = bytes(100 * 1024 * 1024)

    async def respond(_: Receive, send: Send) -> None:
        await start_response(send, content_length=len(large_body))
        await send_body(send, large_body)

    async with (
        serving_responses(respond, state) as origin,
        tcp_connection(origin) as (reader, writer),
    ):
        writer.write(GET_REQUEST)
        with pytest.raises(ConnectionResetError):
            await read_slowly(reader)


@pytest.mark.parametrize("request_bytes", [CLOSING_REQUEST, GET_REQUEST, INCOMPLETE_POST_REQUEST])
async def test_connection_whose_last_bytes_are_not_read_is_closed(
    request_bytes: bytes,
    state: ServerState,
    respond_until_unread: Respond,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flow_control, "UNREAD_TIMEOUT_SECONDS", SHORT_TIMEOUT)

    async def has_connection() -> bool:
        return bool(state.connections)

    async with (
        serving_responses(respond_until_unread, state) as origin,
        tcp_connection(origin) as (_, writer),
    ):
        client_transport(writer).pause_reading()
        writer.write(request_bytes)
        await poll_until(has_connection)
        await wait_until_closed(state)


async def test_client_that_reads_late_gets_the_whole_response(
    state: ServerState, respond_until_unread: Respond, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "DRAIN_INTERVAL_SECONDS", SHORT_TIMEOUT)
    async with (
        serving_responses(respond_until_unread, state) as origin,
        tcp_connection(origin) as (reader, writer),
    ):
        client_transport(writer).pause_reading()
        writer.write(INCOMPLETE_POST_REQUEST)
        await asyncio.sleep(5 * SHORT_TIMEOUT)
        client_transport(writer).resume_reading()
        response = await reader.read()
    assert response_statuses(response) == [200]
    assert response.endswith(b"\r\n0\r\n\r\n")


async def test_bytes_behind_the_last_request_do_not_destroy_its_response() -> None:
    async with serving_responses(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        client_transport(writer).pause_reading()
        writer.write(CLOSING_REQUEST)
        for _ in range(2):
            await wait_until_server_has_read(origin)
            writer.write(b"\r\n")
        await wait_until_server_has_read(origin)
        client_transport(writer).resume_reading()
        response = await reader.read()
    assert response.endswith(b"\r\n\r\nok")
