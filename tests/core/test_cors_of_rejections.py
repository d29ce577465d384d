"""CORS headers of the error responses that the server writes without the application."""

from collections.abc import AsyncIterator

import pytest

from app.core.server._request_head import MAX_HEAD_BYTES
from tests.support import servers
from tests.support.processes import running_server
from tests.support.raw_requests import exchange_bytes, response_statuses

pytestmark = pytest.mark.usefixtures("time_limit")
ALLOWED_ORIGIN = "https://app.example"
# Requests that the server rejects, without their Origin header, and the status of the response.
REJECTED_REQUESTS = {
    b"GET / HTTP/1.1\r\nHost: a\r\n%bX-A: b\r\nno header\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: gzip\r\n\r\n": 501,
    b"GET / HTTP/1.1\r\nHost: a\r\n%bX-A: ".ljust(MAX_HEAD_BYTES + 100, b"x"): 431,
    # The body is rejected while the application waits for it.
    b"POST /authors HTTP/1.1\r\nHost: a\r\n%bContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nno chunk\r\n": 400,
}


@pytest.fixture(scope="module")
async def server_origin(template_url: str) -> AsyncIterator[str]:
    """The origin of a server that pages with `ALLOWED_ORIGIN` may use."""
    async with (
        servers.open_copy(template_url) as url,
        running_server(DATABASE_URL=url, CORS_ORIGINS=ALLOWED_ORIGIN) as (_, origin),
    ):
        yield origin


async def read_head(server_origin: str, request: bytes, status: int) -> str:
    """Send a request that is rejected with this status, and return the head of the response."""
    response = await exchange_bytes(server_origin, request)
    assert response_statuses(response) == [status]
    return response.partition(b"\r\n\r\n")[0].decode().lower() + "\r\n"


@pytest.mark.parametrize(("request_template", "status"), REJECTED_REQUESTS.items())
async def test_page_may_read_the_rejection_of_its_request(
    server_origin: str, request_template: bytes, status: int
) -> None:
    request = request_template % f"Origin: {ALLOWED_ORIGIN}\r\n".encode()
    head = await read_head(server_origin, request, status)
    assert head.count(f"access-control-allow-origin: {ALLOWED_ORIGIN}\r\n") == 1
    assert "\r\nvary: origin\r\n" in head
    assert "x-request-id" in head.partition("access-control-expose-headers: ")[2].split("\r\n")[0]


@pytest.mark.parametrize("origin_header", [b"", b"Origin: https://evil.example\r\n"])
@pytest.mark.parametrize(("request_template", "status"), REJECTED_REQUESTS.items())
async def test_other_page_may_not_read_the_rejection_of_its_request(
    server_origin: str, request_template: bytes, status: int, origin_header: bytes
) -> None:
    head = await read_head(server_origin, request_template % origin_header, status)
    assert "access-control-" not in head
    assert "\r\nvary: origin\r\n" in head


async def test_rejection_without_any_header_is_not_readable(server_origin: str) -> None:
    head = await read_head(server_origin, b"\x16\x03\x01\r\n\r\n", 400)
    assert "access-control-" not in head
