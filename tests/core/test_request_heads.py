"""Requests whose head or framing the server rejects, although its parser would accept them."""

import json

import pytest

from app.core.server._chunk_overhead import MAX_CHUNK_OVERHEAD_BYTES
from app.core.server._request_head import MAX_HEAD_BYTES, MAX_WAITING_REQUESTS
from tests.support.connections import tcp_connection
from tests.support.protocol_server import RecordingApp, serving_app, wait_until_server_has_read
from tests.support.raw_requests import exchange_bytes, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
REQUEST_LINES = {
    b"GET / HTTP/2.0": 505,
    b"GET / HTTP/1.2": 400,
    b"GET / HTTP/0.9": 400,
    b"GET /": 400,
    b"GET  / HTTP/1.1": 400,
    b"GET /  HTTP/1.1": 400,
    b"GET / HTTP/1.1 ": 400,
    b"GET\t/ HTTP/1.1": 400,
    b"get / HTTP/1.1": 400,
    b"DESCRIBE / RTSP/1.0": 400,
    b"SOURCE / ICE/1.0": 400,
    b"PRI * HTTP/2.0": 400,
    b"GET example.com:80 HTTP/1.1": 400,
}
HEADERS = {
    b"Transfer-Encoding: gzip": 501,
    b"Transfer-Encoding: gzip, chunked": 501,
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked": 501,
    b"Transfer-Encoding: identity": 501,
    b"Transfer-Encoding: xchunked": 501,
    b"Transfer-Encoding: chunked, chunked": 400,
    b"Transfer-Encoding: chunked, gzip": 400,
    b"Transfer-Encoding: ": 400,
    b"Transfer-Encoding: chunked\r\nContent-Length: 3": 400,
    b"Content-Length: 3\r\nContent-Length: 3": 400,
    b"Content-Length: 3\r\nContent-Length: 4": 400,
    b"Content-Length: 3, 3": 400,
    b"Content-Length: +3": 400,
    b"X-A: 1\r\n folded": 400,
    b"X-A: a\x00b": 400,
    b"X-A : 1": 400,
}


def check_rejection(response: bytes, expected_status: int) -> None:
    """Check that bytes are one complete error response of the server itself."""
    assert response_statuses(response) == [expected_status]
    head, _, body = response.partition(b"\r\n\r\n")
    headers = head.decode().lower()
    assert "\r\nconnection: close\r\n" in headers + "\r\n"
    assert "\r\ndate: " in headers
    assert "\r\nx-content-type-options: nosniff\r\n" in headers + "\r\n"
    assert "\r\ncontent-type: application/problem+json\r\n" in headers + "\r\n"
    problem = json.loads(body)
    assert problem["status"] == expected_status
    assert f"\r\nx-request-id: {problem['request_id']}\r\n" in headers + "\r\n"


@pytest.mark.parametrize(("line", "status"), REQUEST_LINES.items())
async def test_invalid_request_line_is_rejected(origin: str, line: bytes, status: int) -> None:
    response = await exchange_bytes(origin, line + b"\r\nHost: test\r\n\r\n")
    check_rejection(response, status)


@pytest.mark.parametrize(("header", "status"), HEADERS.items())
async def test_invalid_header_is_rejected(origin: str, header: bytes, status: int) -> None:
    head = b"POST /authors HTTP/1.1\r\nHost: test\r\n" + header + b"\r\n\r\n"
    check_rejection(await exchange_bytes(origin, head + b"abc"), status)


async def test_incomplete_head_with_many_empty_headers_is_431(origin: str) -> None:
    # They are small on the wire, but take much memory.
    head = b"GET / HTTP/1.1\r\nHost: test\r\n" + 1000 * b"a:\r\n"
    assert response_statuses(await exchange_bytes(origin, head)) == [431]


async def test_two_spaces_in_a_later_segment_of_the_request_line_are_400() -> None:
    app = RecordingApp()
    async with serving_app(app) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(b"GET ")
        await wait_until_server_has_read(origin)
        writer.write(b" / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert response_statuses(await reader.read()) == [400]
    assert app.requests == []


async def test_request_line_may_arrive_in_several_segments() -> None:
    async with serving_app(RecordingApp()) as origin, tcp_connection(origin) as (reader, writer):
        for part in (LAST_REQUEST[:2], LAST_REQUEST[2:9], LAST_REQUEST[9:]):
            writer.write(part)
            await wait_until_server_has_read(origin)
        assert response_statuses(await reader.read()) == [200]


async def test_two_spaces_behind_a_valid_request_are_400() -> None:
    invalid_request = LAST_REQUEST.replace(b" / ", b"  / ")
    valid_request = LAST_REQUEST.replace(b"Connection: close\r\n", b"")
    async with serving_app(RecordingApp()) as origin:
        responses = await exchange_bytes(origin, valid_request + invalid_request)
    assert response_statuses(responses) == [200, 400]


async def test_empty_lines_before_a_request_line_are_ignored() -> None:
    async with serving_app(RecordingApp()) as origin:
        responses = await exchange_bytes(origin, b"\r\n\r\n" + LAST_REQUEST)
    assert response_statuses(responses) == [200]


async def test_many_pipelined_requests_do_not_count_as_one_large_head() -> None:
    long_header = b"X-A: ".ljust(2 * MAX_HEAD_BYTES // MAX_WAITING_REQUESTS, b"x") + b"\r\n"
    request = LAST_REQUEST.replace(b"Connection: close\r\n", long_header)
    async with serving_app(RecordingApp()) as origin:
        responses = await exchange_bytes(origin, MAX_WAITING_REQUESTS * request + LAST_REQUEST)
    assert response_statuses(responses) == (MAX_WAITING_REQUESTS + 1) * [200]


@pytest.mark.parametrize(
    "body",
    [
        b"1;" + bytes(MAX_CHUNK_OVERHEAD_BYTES).replace(b"\0", b"x"),
        100 * (b"1;" + 1000 * b"x" + b"\r\na\r\n"),
        b"0\r\n" + 5000 * b"X-A: b\r\n",
    ],
    ids=["one", "many", "trailers"],
)
async def test_large_chunk_extensions_and_trailers_are_400(body: bytes) -> None:
    app = RecordingApp()
    async with serving_app(app) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(CHUNKED_HEAD)
        await wait_until_server_has_read(origin)
        writer.write(body)
        assert response_statuses(await reader.read()) == [400]
    assert app.requests == []


async def test_small_chunks_with_small_extensions_are_accepted() -> None:
    app = RecordingApp()
    body = 5000 * b"1;a=b\r\nx\r\n" + b"0\r\nX-A: b\r\n\r\n"
    async with serving_app(app) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(CHUNKED_HEAD)
        await wait_until_server_has_read(origin)
        writer.write(body + LAST_REQUEST)
        assert response_statuses(await reader.read()) == [200, 200]
    assert app.requests == [("POST", 5000 * b"x"), ("GET", b"")]


async def test_trailers_are_not_headers() -> None:
    app = RecordingApp()
    trailers = b"0\r\nAuthorization: Bearer x\r\nHost: other\r\n\r\n"
    request = CHUNKED_HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + trailers
    async with serving_app(app) as origin:
        assert response_statuses(await exchange_bytes(origin, request)) == [200]
    assert b"authorization" not in app.headers
    assert app.headers[b"host"] == b"test"


@pytest.mark.parametrize("target", [b"*", b"http://test"])
async def test_options_of_the_server_is_204(origin: str, target: bytes) -> None:
    request = b"OPTIONS " + target + b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    response = await exchange_bytes(origin, request)
    assert response_statuses(response) == [204]
    assert b"\r\nallow: DELETE, GET, HEAD, OPTIONS, PATCH, POST\r\n" in response


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
async def test_asterisk_with_another_method_is_400(origin: str, method: str) -> None:
    request = f"{method} * HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    response = await exchange_bytes(origin, request.encode())
    assert response_statuses(response) == [400]


async def test_absolute_target_without_a_path_is_the_root(origin: str) -> None:
    request = LAST_REQUEST.replace(b" / ", b" http://test ")
    responses = [await exchange_bytes(origin, request), await exchange_bytes(origin, LAST_REQUEST)]
    assert response_statuses(responses[0]) == response_statuses(responses[1])
