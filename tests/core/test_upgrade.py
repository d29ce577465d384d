"""The server ignores the header Upgrade, and reads the body of such a request as usual."""

import asyncio

import pytest

from tests.support import protocol_server
from tests.support.connections import tcp_connection
from tests.support.processes import PROJECT_ROOT
from tests.support.programs import CURL, JAVA, JAVA_OPTIONS, run_program
from tests.support.protocol_server import RecordingApp, serving_app
from tests.support.raw_requests import exchange_bytes, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
UPGRADE_HEADERS = {
    "other": b"Upgrade: foo/1\r\nConnection: upgrade\r\n",
    "h2c": b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
    "repeated": b"Upgrade: foo\r\nUpgrade: bar\r\nConnection: upgrade\r\n",
}
HEADERS = pytest.mark.parametrize("headers", UPGRADE_HEADERS.values(), ids=UPGRADE_HEADERS.keys())
# A body that would be a valid request.
BODY = b"DELETE /authors/1 HTTP/1.1\r\nHost: test\r\n\r\n"
LAST_REQUEST = b"GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
JAVA_PROGRAM = PROJECT_ROOT / "tests" / "clients" / "java" / "PostAuthor.java"


def post_request(headers: bytes) -> bytes:
    """Return a request with `BODY`, and with additional headers."""
    content_length = b"Content-Length: %d\r\n\r\n" % len(BODY)
    return b"POST / HTTP/1.1\r\nHost: test\r\n" + headers + content_length + BODY


def chunked_request(headers: bytes) -> bytes:
    """Return a request with `BODY` in one chunk, and with additional headers."""
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    return b"POST / HTTP/1.1\r\nHost: test\r\n" + headers + chunks


@HEADERS
@pytest.mark.parametrize("build_request", [post_request, chunked_request])
async def test_body_of_request_with_upgrade_is_read(
    headers: bytes, build_request: protocol_server.BuildRequest
) -> None:
    app = RecordingApp()
    async with serving_app(app) as origin:
        responses = await exchange_bytes(origin, build_request(headers) + LAST_REQUEST)
    assert response_statuses(responses) == [200, 200]
    assert app.requests == [("POST", BODY), ("GET", b"")]


@pytest.mark.parametrize("build_request", [post_request, chunked_request])
async def test_later_segment_of_request_with_upgrade_is_its_body(
    build_request: protocol_server.BuildRequest,
) -> None:
    app = RecordingApp()
    head, separator, body = build_request(UPGRADE_HEADERS["other"]).partition(b"\r\n\r\n")
    async with serving_app(app) as origin, tcp_connection(origin) as (reader, writer):
        writer.write(head + separator)
        await protocol_server.wait_until_server_has_read(origin)
        writer.write(body[:20])
        await protocol_server.wait_until_server_has_read(origin)
        writer.write(body[20:] + LAST_REQUEST)
        responses = await reader.read()
    assert response_statuses(responses) == [200, 200]
    assert app.requests == [("POST", BODY), ("GET", b"")]


async def test_head_with_upgrade_may_arrive_in_single_bytes() -> None:
    app = RecordingApp()
    request = post_request(UPGRADE_HEADERS["h2c"]) + LAST_REQUEST
    async with serving_app(app) as origin, tcp_connection(origin) as (reader, writer):
        for position in range(len(request)):
            writer.write(request[position : position + 1])
            # Let the server, which runs in the same event loop, read the byte.
            await asyncio.sleep(0)
        responses = await reader.read()
    assert response_statuses(responses) == [200, 200]
    assert app.requests == [("POST", BODY), ("GET", b"")]


@HEADERS
async def test_pipelined_requests_with_upgrade_are_separate_requests(headers: bytes) -> None:
    app = RecordingApp()
    get_request = b"GET / HTTP/1.1\r\nHost: test\r\n" + headers + b"\r\n"
    requests = [get_request, post_request(headers), chunked_request(headers), get_request]
    async with serving_app(app) as origin:
        responses = await exchange_bytes(origin, b"".join(requests) + LAST_REQUEST)
    assert response_statuses(responses) == [200] * 5
    assert [body for _, body in app.requests] == [b"", BODY, BODY, b"", b""]


async def test_application_does_not_see_upgrade_header() -> None:
    app = RecordingApp()
    request = b"GET / HTTP/1.1\r\nHost: test\r\nX-A: 1\r\nConnection: upgrade, close\r\n"
    async with serving_app(app) as origin:
        await exchange_bytes(origin, request + b"Upgrade: foo\r\nX-B: 2\r\n\r\n")
    assert app.headers == {
        b"host": b"test",
        b"x-a": b"1",
        b"connection": b"upgrade, close",
        b"x-b": b"2",
    }


@pytest.mark.parametrize("target", ["example.com:443", "/"])
async def test_connect_is_501(target: str) -> None:
    app = RecordingApp()
    request = f"CONNECT {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BODY)}\r\n\r\n"
    async with serving_app(app) as origin:
        responses = await exchange_bytes(origin, request.encode() + BODY)
    assert response_statuses(responses) == [501]
    assert app.requests == []


@pytest.mark.skipif(JAVA is None, reason="Java is not installed")
async def test_standard_client_of_java_creates_authors(origin: str) -> None:
    output = await run_program("java", *JAVA_OPTIONS, JAVA_PROGRAM, origin)
    assert output.split() == ["201", "201"]


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
async def test_curl_with_http2_creates_author(origin: str) -> None:
    options = ("--silent", "--http2", "--write-out", "%{http_code}", "--output", "/dev/null")
    headers = ("--header", "Content-Type: application/json")
    data = ("--data", '{"name": "Ada"}')
    url = f"{origin}/authors"
    assert await run_program("curl", *options, *headers, *data, url) == "201"
