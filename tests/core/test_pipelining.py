"""Requests that a client sends without waiting for the responses to earlier ones."""

import asyncio
import gc
from typing import Any
from weakref import ref

import pytest
from starlette.types import Receive, Send
from uvicorn.server import ServerState

from app.core.server._request_head import MAX_WAITING_REQUESTS
from tests.support.connections import reset_when_closed, tcp_connection
from tests.support.processes import poll_until
from tests.support.protocol_server import (
    GET_REQUEST,
    RecordingApp,
    respond_ok,
    send_until_disconnected,
    serving_app,
    serving_responses,
)
from tests.support.raw_requests import exchange_bytes, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")


async def test_request_beyond_the_limit_of_waiting_requests_is_429_after_the_responses() -> None:
    app = RecordingApp()
    accepted_count = 1 + MAX_WAITING_REQUESTS
    async with serving_app(app) as origin:
        responses = await exchange_bytes(origin, (accepted_count + 5) * GET_REQUEST)
    assert response_statuses(responses) == accepted_count * [200] + [429]
    assert b"too-many-requests" in responses
    assert b"\r\nretry-after: 1\r\n" in responses.lower()
    assert len(app.requests) == accepted_count


async def test_requests_in_many_segments_get_their_responses() -> None:
    request_count = 5 * MAX_WAITING_REQUESTS
    async with serving_app(RecordingApp()) as origin, tcp_connection(origin) as (reader, writer):
        for _ in range(request_count):
            writer.write(GET_REQUEST)
            await asyncio.sleep(0)
        writer.write_eof()
        responses = await reader.read()
    assert response_statuses(responses) == request_count * [200]


async def test_server_does_not_read_while_requests_wait() -> None:
    state = ServerState()
    was_reading: list[bool] = []

    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        (connection,) = state.connections
        was_reading.append(connection.transport.is_reading())
        await respond_ok(receive, send)

    async with serving_responses(respond, state) as origin:
        await exchange_bytes(origin, 4 * GET_REQUEST, half_close=True)
    # Requests wait during the first three responses.
    assert was_reading == [False, False, False, True]


async def test_disconnect_frees_waiting_requests_without_the_garbage_collector() -> None:
    state = ServerState()
    connections: list[ref[Any]] = []

    async def respond(receive: Receive, send: Send) -> None:
        connections.append(ref(next(iter(state.connections))))
        await send_until_disconnected(receive, send, b"content")

    async def is_freed() -> bool:
        return connections[0]() is None and not state.tasks

    gc.disable()
    try:
        async with serving_responses(respond, state) as origin:
            async with tcp_connection(origin) as (reader, writer):
                writer.write(3 * GET_REQUEST)
                await reader.readuntil(b"content")
                reset_when_closed(writer)
            await poll_until(is_freed)
    finally:
        gc.enable()
