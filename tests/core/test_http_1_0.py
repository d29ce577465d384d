"""Clients of HTTP/1.0 get no chunks and no interim responses."""

import asyncio

import pytest
from starlette.types import Receive, Send

from tests.support.connections import tcp_connection
from tests.support.protocol_server import (
    RecordingApp,
    respond_ok,
    send_body,
    serving_app,
    serving_responses,
    start_response_of_unknown_length,
)
from tests.support.raw_requests import exchange_bytes, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
GET_REQUEST = b"GET / HTTP/1.0\r\nHost: test\r\n\r\n"
HEAD_REQUEST = GET_REQUEST.replace(b"GET", b"HEAD")


async def respond_in_two_parts(_: Receive, send: Send) -> None:
    await start_response_of_unknown_length(send)
    await send_body(send, b"first ", more=True)
    await send_body(send, b"second", more=True)
    await send_body(send, b"")


async def test_end_of_connection_is_the_end_of_a_stream() -> None:
    async with serving_responses(respond_in_two_parts) as origin:
        response = await exchange_bytes(origin, GET_REQUEST)
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"first second"


async def test_response_to_head_is_not_chunked() -> None:
    async with serving_responses(respond_in_two_parts) as origin:
        response = await exchange_bytes(origin, HEAD_REQUEST)
    assert b"transfer-encoding" not in response
    assert response.endswith(b"\r\n\r\n")


async def test_response_of_known_length_has_content_length() -> None:
    async with serving_responses(respond_ok) as origin:
        response = await exchange_bytes(origin, GET_REQUEST)
    assert b"content-length: 2\r\n" in response
    assert response.endswith(b"\r\n\r\nok")


async def test_stream_that_fails_resets_the_connection() -> None:
    may_fail = asyncio.Event()

    async def respond(_: Receive, send: Send) -> None:
        await start_response_of_unknown_length(send)
        await send_body(send, b"first", more=True)
        await may_fail.wait()
        raise RuntimeError("the application failed")

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        await reader.readuntil(b"first")
        may_fail.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_expectation_of_100_continue_is_ignored() -> None:
    app = RecordingApp()
    request = b"POST / HTTP/1.0\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with serving_app(app) as origin:
        response = await exchange_bytes(origin, request + b"hi")
    assert response_statuses(response) == [200]
    assert app.requests == [("POST", b"hi")]


async def test_chunked_request_is_400() -> None:
    app = RecordingApp()
    request = b"POST / HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with serving_app(app) as origin:
        response = await exchange_bytes(origin, request)
    assert response_statuses(response) == [400]
    assert app.requests == []
