"""Health checks as load balancers send them, to a server that restricts the Host header."""

from collections.abc import AsyncIterator

import pytest

from tests.support import servers
from tests.support.connections import tcp_connection
from tests.support.processes import running_server

ALLOWED_HOST = "books.example"


@pytest.fixture(scope="module")
async def origin(template_url: str) -> AsyncIterator[str]:
    """The origin of a server that only accepts `ALLOWED_HOST`, except in probes."""
    async with (
        servers.open_copy(template_url) as url,
        running_server(DATABASE_URL=url, ALLOWED_HOSTS=ALLOWED_HOST) as (_, origin),
    ):
        yield origin


async def read_status(origin: str, request_line: str, *headers: str) -> int:
    """Send a request with exactly these headers, and return the status of the response."""
    request = "\r\n".join([request_line, *headers, "", ""])
    async with tcp_connection(origin) as (reader, writer):
        writer.write(request.encode())
        status_line = await reader.readline()
    return int(status_line.split()[1])


@pytest.mark.parametrize(
    ("request_line", "expected_status"),
    [
        # HAProxy with `option httpchk`, which has this request line by default.
        ("OPTIONS / HTTP/1.0", 204),
        ("OPTIONS * HTTP/1.0", 204),
        # HAProxy with `option httpchk GET /readyz`.
        ("GET /readyz HTTP/1.0", 200),
        ("GET /livez HTTP/1.0", 200),
        ("GET /livez/ HTTP/1.0", 200),
        ("HEAD /livez HTTP/1.0", 200),
        ("OPTIONS /livez HTTP/1.0", 204),
        ("OPTIONS /readyz/ HTTP/1.0", 204),
    ],
)
async def test_probe_of_http_1_0_is_accepted_without_host(
    origin: str, request_line: str, expected_status: int
) -> None:
    assert await read_status(origin, request_line) == expected_status


@pytest.mark.parametrize(
    "host",
    [
        # Kubernetes, Amazon and Google send the address of the server.
        *("10.0.0.7", "10.0.0.7:8000", "[fd00::7]:8000"),
        # Docker's health check, and the name of an upstream in nginx.
        *("localhost:8000", "book_servers"),
    ],
)
@pytest.mark.parametrize(
    ("request_line", "expected_status"),
    [
        ("GET /livez HTTP/1.1", 200),
        ("GET /livez/ HTTP/1.1", 200),
        ("HEAD /readyz/ HTTP/1.1", 200),
        ("OPTIONS /readyz HTTP/1.1", 204),
        ("OPTIONS / HTTP/1.1", 204),
        ("GET /readyz HTTP/1.0", 200),
    ],
)
async def test_probe_may_name_any_host(
    origin: str, request_line: str, expected_status: int, host: str
) -> None:
    assert await read_status(origin, request_line, f"Host: {host}") == expected_status


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize(
    "headers",
    [
        ["Host: books.example", "Host: books.example"],
        ["Host: outbound|8000||books"],
        ["Host: user@books.example"],
        ["Host: [::1"],
        ["Host: books.example/livez"],
    ],
)
async def test_probe_with_an_invalid_host_is_400(
    origin: str, headers: list[str], version: str
) -> None:
    assert await read_status(origin, f"GET /livez {version}", *headers) == 400


@pytest.mark.parametrize("headers", [[], ["Host:"]])
async def test_probe_of_http_1_1_without_a_host_is_400(origin: str, headers: list[str]) -> None:
    assert await read_status(origin, "GET /livez HTTP/1.1", *headers) == 400


@pytest.mark.parametrize("path", ["/books", "/", "/livez/x", "/livezz", "/books/livez"])
async def test_other_request_of_http_1_0_without_a_host_is_400_if_hosts_are_limited(
    origin: str, path: str
) -> None:
    assert await read_status(origin, f"GET {path} HTTP/1.0") == 400


async def test_request_of_http_1_0_is_accepted_if_it_names_an_allowed_host(origin: str) -> None:
    status = await read_status(origin, "GET /books HTTP/1.0", f"Host: {ALLOWED_HOST}:8000")
    assert status == 200


async def test_request_of_http_1_0_is_accepted_without_a_host_if_hosts_are_not_limited(
    private_database_url: str,
) -> None:
    environment = {"ANONYMOUS_ACCESS": "read", "ALLOWED_HOSTS": ""}
    async with running_server(DATABASE_URL=private_database_url, **environment) as (_, origin):
        assert await read_status(origin, "GET /books HTTP/1.0") == 200
        assert await read_status(origin, "GET /books HTTP/1.0", "Host:") == 200
        assert await read_status(origin, "GET /books HTTP/1.1") == 400


@pytest.mark.parametrize(
    ("host_in_target", "headers", "expected_status"),
    [
        (ALLOWED_HOST, ["Host: evil.example"], 200),
        (f"ada@{ALLOWED_HOST}:8000", ["Host: evil.example"], 200),
        ("evil.example", [f"Host: {ALLOWED_HOST}"], 400),
        (f"{ALLOWED_HOST}@evil.example", [f"Host: {ALLOWED_HOST}"], 400),
        # HTTP/1.1 requires exactly one Host header, also if the target has a host.
        (ALLOWED_HOST, [], 400),
        (ALLOWED_HOST, [f"Host: {ALLOWED_HOST}", f"Host: {ALLOWED_HOST}"], 400),
    ],
)
async def test_host_in_the_request_target_has_precedence_over_the_header(
    origin: str, host_in_target: str, headers: list[str], expected_status: int
) -> None:
    request_line = f"GET http://{host_in_target}/books HTTP/1.1"
    assert await read_status(origin, request_line, *headers) == expected_status


@pytest.mark.parametrize(
    ("target", "expected_status"),
    [
        (f"http://{ALLOWED_HOST}/books", 200),
        (f"http://{ALLOWED_HOST}", 200),
        (f"http://{ALLOWED_HOST}?x", 422),
        ("http://evil.example/books", 400),
        ("http://10.0.0.7:8000/livez", 200),
    ],
)
async def test_host_in_the_request_target_suffices_in_http_1_0(
    origin: str, target: str, expected_status: int
) -> None:
    assert await read_status(origin, f"GET {target} HTTP/1.0") == expected_status
