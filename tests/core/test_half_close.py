"""A client that closes its direction of the connection still gets the responses it waits for."""

import asyncio

import pytest
from starlette.types import Receive, Send

from tests.support.connections import tcp_connection
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.processes import running_server
from tests.support.protocol_server import (
    GET_REQUEST,
    INCOMPLETE_POST_REQUEST,
    MALFORMED,
    RecordingApp,
    respond_ok,
    send_body,
    serving_app,
    serving_responses,
    start_response,
    start_response_of_unknown_length,
    wait_for_disconnect,
)
from tests.support.raw_requests import exchange_bytes, post_head, response_statuses, upload_head

pytestmark = pytest.mark.usefixtures("time_limit")
END_OF_CHUNKS = b"0\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        GET_REQUEST,
        post_head("/", "text/plain", 5) + b"hello",
        INCOMPLETE_POST_REQUEST + END_OF_CHUNKS,
    ],
    ids=["GET", "length", "chunks"],
)
async def test_complete_request_before_half_close_gets_its_response(request_bytes: bytes) -> None:
    async with serving_app(RecordingApp()) as origin:
        response = await exchange_bytes(origin, request_bytes, half_close=True)
    assert response_statuses(response) == [200]
    assert response.endswith(b"\r\n\r\nok")


async def test_pipelined_requests_before_half_close_get_their_responses() -> None:
    async with serving_app(RecordingApp()) as origin:
        responses = await exchange_bytes(origin, 3 * GET_REQUEST, half_close=True)
    assert response_statuses(responses) == [200, 200, 200]


async def test_malformed_bytes_before_half_close_are_400_after_the_response() -> None:
    async with serving_app(RecordingApp()) as origin:
        responses = await exchange_bytes(origin, GET_REQUEST + MALFORMED, half_close=True)
    assert response_statuses(responses) == [200, 400]


async def test_half_close_during_a_stream_does_not_interrupt_it() -> None:
    has_half_closed = asyncio.Event()

    async def respond(_: Receive, send: Send) -> None:
        await start_response_of_unknown_length(send)
        await send_body(send, b"first", more=True)
        await has_half_closed.wait()
        await send_body(send, b"second", more=True)
        await send_body(send, b"")

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        await reader.readuntil(b"first\r\n")
        writer.write_eof()
        has_half_closed.set()
        assert await reader.read() == b"6\r\nsecond\r\n0\r\n\r\n"


async def test_half_close_in_the_middle_of_a_body_is_a_disconnect() -> None:
    is_disconnected = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await wait_for_disconnect(receive)
        await respond_ok(receive, send)
        is_disconnected.set()

    async with serving_responses(respond) as origin:
        response = await exchange_bytes(origin, INCOMPLETE_POST_REQUEST, half_close=True)
        await is_disconnected.wait()
    assert response == b""


async def test_half_close_after_a_response_began_in_the_middle_of_a_body_cuts_it_off() -> None:
    async def respond(receive: Receive, send: Send) -> None:
        await start_response(send, content_length=4)
        await send_body(send, b"ab", more=True)
        await wait_for_disconnect(receive)

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST)
        await reader.readuntil(b"ab")
        writer.write_eof()
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "incomplete_request", [GET_REQUEST[:10], INCOMPLETE_POST_REQUEST], ids=["head", "body"]
)
async def test_incomplete_request_behind_a_complete_one_is_dropped(
    incomplete_request: bytes,
) -> None:
    app = RecordingApp()
    async with serving_app(app) as origin:
        responses = await exchange_bytes(origin, GET_REQUEST + incomplete_request, half_close=True)
    assert response_statuses(responses) == [200]
    assert app.requests == [("GET", b"")]


@pytest.mark.parametrize("first_bytes", [b"", GET_REQUEST[:10]], ids=["nothing", "head"])
async def test_half_close_without_a_complete_request_closes_the_connection(
    first_bytes: bytes,
) -> None:
    async with serving_app(RecordingApp()) as origin:
        assert await exchange_bytes(origin, first_bytes, half_close=True) == b""


async def test_service_responds_to_writes_and_streams_before_half_close(
    private_database_url: str,
) -> None:
    author = b'{"name": "Ada"}'
    form = START_OF_FORM + b"content" + END_OF_FORM
    requests = {
        post_head("/authors", "application/json", len(author)) + author: 201,
        upload_head(len(form)) + form: 201,
        b"GET /authors.csv HTTP/1.1\r\nHost: test\r\n\r\n": 200,
    }
    async with running_server(DATABASE_URL=private_database_url) as (_, origin):
        for request, expected_status in requests.items():
            response = await exchange_bytes(origin, request, half_close=True)
            assert response_statuses(response) == [expected_status]
    assert b"Ada" in response
    assert response.endswith(END_OF_CHUNKS)
