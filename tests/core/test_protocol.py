"""Invalid requests: each request gets exactly one response, and rejected ones get a problem.

`HttpProtocol` documents the outcome for each state of the response.
"""

import asyncio

import pytest
from starlette.types import Receive, Send

from tests.support.connections import tcp_connection
from tests.support.protocol_server import (
    GET_REQUEST,
    INCOMPLETE_POST_REQUEST,
    MALFORMED,
    respond_ok,
    send_body,
    serving_responses,
    start_response,
    wait_for_disconnect,
    wait_until_server_has_read,
)
from tests.support.raw_requests import exchange_bytes, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
BAD_REQUEST = b"HTTP/1.1 400 "


async def test_malformed_bytes_behind_a_request_are_400_after_its_response() -> None:
    async with serving_responses(respond_ok) as origin:
        responses = await exchange_bytes(origin, GET_REQUEST + MALFORMED)
    assert response_statuses(responses) == [200, 400]
    assert b"\r\n\r\nokHTTP/1.1 400 " in responses


async def test_malformed_bytes_behind_two_requests_are_400_after_both_responses() -> None:
    async with serving_responses(respond_ok) as origin:
        responses = await exchange_bytes(origin, GET_REQUEST + GET_REQUEST + MALFORMED)
    assert response_statuses(responses) == [200, 200, 400]


async def test_malformed_bytes_behind_a_request_that_closes_the_connection_are_ignored() -> None:
    request = GET_REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with serving_responses(respond_ok) as origin:
        responses = await exchange_bytes(origin, request + MALFORMED)
    assert response_statuses(responses) == [200]


@pytest.mark.parametrize("body", [b"5\r\nhel", b"not a chunk size\r\n"], ids=["half", "bad"])
async def test_malformed_pipelined_body_is_400_after_the_earlier_response(body: bytes) -> None:
    request_count = 0

    async def respond(receive: Receive, send: Send) -> None:
        nonlocal request_count
        request_count += 1
        await respond_ok(receive, send)

    request = GET_REQUEST + INCOMPLETE_POST_REQUEST + body + MALFORMED
    async with serving_responses(respond) as origin:
        responses = await exchange_bytes(origin, request)
    assert response_statuses(responses) == [200, 400]
    assert request_count == 1


async def test_invalid_target_behind_a_request_does_not_interrupt_its_response() -> None:
    invalid_request = GET_REQUEST.replace(b" / ", b" http://[ ")
    async with serving_responses(respond_ok) as origin:
        responses = await exchange_bytes(origin, GET_REQUEST + invalid_request)
    assert response_statuses(responses) == [200, 400]


async def test_malformed_bytes_during_a_response_do_not_interrupt_it() -> None:
    may_complete = asyncio.Event()

    async def respond(_: Receive, send: Send) -> None:
        await start_response(send, content_length=4)
        await send_body(send, b"ab", more=True)
        await may_complete.wait()
        await send_body(send, b"cd")

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        response = await reader.readuntil(b"ab")
        for _ in range(2):
            writer.write(MALFORMED)
            await wait_until_server_has_read(origin)
        may_complete.set()
        response += await reader.read()
    assert b"\r\n\r\nabcdHTTP/1.1 400 " in response
    assert response_statuses(response) == [200, 400]


async def test_malformed_body_cuts_off_a_response_that_has_started() -> None:
    is_disconnected = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        await start_response(send, content_length=4)
        await send_body(send, b"ab", more=True)
        await wait_for_disconnect(receive)
        is_disconnected.set()

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST)
        response = await reader.readuntil(b"ab")
        writer.write(MALFORMED)
        response += await reader.read()
        await is_disconnected.wait()
    assert response.endswith(b"\r\n\r\nab")


async def test_malformed_body_after_a_complete_response_closes_the_connection() -> None:
    async def respond(receive: Receive, send: Send) -> None:
        await receive()
        await respond_ok(receive, send)

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST)
        response = await reader.readuntil(b"ok")
        writer.write(MALFORMED)
        assert await reader.read() == b""
    assert response.startswith(b"HTTP/1.1 200 ")


async def test_malformed_body_before_the_response_is_400_and_the_only_response() -> None:
    has_responded = asyncio.Event()

    async def respond(receive: Receive, send: Send) -> None:
        await wait_for_disconnect(receive)
        await respond_ok(receive, send)
        has_responded.set()

    async with serving_responses(respond) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(INCOMPLETE_POST_REQUEST + MALFORMED)
        response = await reader.read()
        await has_responded.wait()
    assert response.startswith(BAD_REQUEST)
    assert response.count(b"HTTP/1.1 ") == 1


async def test_malformed_bytes_after_a_complete_response_are_400() -> None:
    async with serving_responses(respond_ok) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(GET_REQUEST)
        await reader.readuntil(b"ok")
        writer.write(MALFORMED)
        assert (await reader.read()).startswith(BAD_REQUEST)


async def test_malformed_body_that_the_client_announced_gets_no_100_continue() -> None:
    is_disconnected = asyncio.Event()

    async def respond(receive: Receive, _: Send) -> None:
        await wait_for_disconnect(receive)
        is_disconnected.set()

    head, _, _ = INCOMPLETE_POST_REQUEST.partition(b"\r\n\r\n")
    request = head + b"\r\nExpect: 100-continue\r\n\r\n" + MALFORMED
    async with serving_responses(respond) as origin:
        responses = await exchange_bytes(origin, request)
        await is_disconnected.wait()
    assert response_statuses(responses) == [400]


async def test_application_that_fails_after_a_rejection_sends_no_second_response() -> None:
    async def respond(receive: Receive, _: Send) -> None:
        await wait_for_disconnect(receive)
        raise RuntimeError("the application failed")

    async with serving_responses(respond) as origin:
        responses = await exchange_bytes(origin, INCOMPLETE_POST_REQUEST + MALFORMED)
    assert response_statuses(responses) == [400]
