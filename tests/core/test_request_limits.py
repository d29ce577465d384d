"""The check of the Host header, and limits on the size of URLs and headers."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.server._request_head import MAX_HEAD_BYTES
from app.core.server._request_limits import (
    HEADER_SEPARATOR_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    MAX_TARGET_BYTES,
)
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.raw_requests import exchange_bytes

HEAD_TOO_LARGE = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A: ".ljust(MAX_HEAD_BYTES + 1, b"x")
TARGET_TOO_LONG = b"GET /".ljust(MAX_HEAD_BYTES + 1, b"x")


@pytest.fixture
async def restricted_client(
    template_url: str, database: Database, storage: Storage
) -> AsyncIterator[AsyncClient]:
    """A client of a service that only accepts the hosts in its settings."""
    hosts = "books.example, *.books.example,[::1]"
    async with client_with_settings(template_url, database, storage, allowed_hosts=hosts) as client:
        yield client


@pytest.fixture
async def open_client(
    template_url: str, database: Database, storage: Storage
) -> AsyncIterator[AsyncClient]:
    """A client of a service to which everyone may write, and whose hosts are not configured."""
    settings = {"anonymous_access": "full", "allowed_hosts": ""}
    async with client_with_settings(template_url, database, storage, **settings) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        *("books.example", "Books.Example", "books.example:8000", "a.books.example"),
        *("a.b.books.example:1", "[::1]", "[::1]:8000"),
    ],
)
async def test_allowed_host_is_accepted(restricted_client: AsyncClient, host: str) -> None:
    response = await restricted_client.get("/books", headers={"Host": host})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "books.example.evil.example", "notbooks.example", ".books.example.x"),
        *("[::2]", "127.0.0.1", "books.example@evil.example", "books.example/x", "a b", ""),
    ],
)
async def test_host_that_is_not_allowed_is_400(restricted_client: AsyncClient, host: str) -> None:
    response = await restricted_client.get("/books", headers={"Host": host})
    check_problem(response, 400, "malformed-request")
    assert response.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_probe_may_use_an_ip_address_as_host(
    restricted_client: AsyncClient, path: str
) -> None:
    response = await restricted_client.get(path, headers={"Host": "10.0.0.7:8000"})
    assert response.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7", "localhost:1"])
@pytest.mark.parametrize("access", ["none", "read"])
async def test_any_host_is_accepted_without_the_setting_if_writes_need_a_token(
    template_url: str, database: Database, storage: Storage, host: str, access: str
) -> None:
    settings = {"anonymous_access": access, "allowed_hosts": ""}
    async with client_with_settings(template_url, database, storage, **settings) as client:
        response = await client.get("/docs", headers={"Host": host})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8000", "api.localhost", "a.b.localhost:8000", "127.0.0.1"),
        *("127.0.0.1:8000", "127.255.0.9", "[::1]", "[::1]:8000"),
    ],
)
async def test_loopback_host_is_accepted_if_everyone_may_write(
    open_client: AsyncClient, host: str
) -> None:
    assert (await open_client.get("/books", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "10.0.0.7", "0.0.0.0", "localhost.evil.example", "notlocalhost"),
        *("127.0.0.1.evil.example", "127.evil.example", "1127.0.0.1", "[::2]", "[::ffff:a00:7]"),
        *(".localhost", "localhost.", "api", "test", "testserver"),
    ],
)
async def test_other_host_is_400_if_everyone_may_write(open_client: AsyncClient, host: str) -> None:
    response = await open_client.get("/books", headers={"Host": host})
    problem = check_problem(response, 400, "malformed-request")
    assert "add it to ALLOWED_HOSTS" in problem["detail"]


async def test_health_probe_may_use_any_host_if_everyone_may_write(
    open_client: AsyncClient,
) -> None:
    response = await open_client.get("/readyz", headers={"Host": "10.0.0.7:8000"})
    assert response.status_code == 200


@pytest.mark.parametrize("hosts", [[], ["test", "test"], ["a", "b"]])
async def test_request_without_exactly_one_host_is_400(
    client: AsyncClient, hosts: list[str]
) -> None:
    request = httpx.Request("GET", "http://test/livez")
    other_headers = [
        (name, value) for name, value in request.headers.raw if name.lower() != b"host"
    ]
    host_headers = [(b"host", host.encode()) for host in hosts]
    request.headers = httpx.Headers([*other_headers, *host_headers])
    check_problem(await client.send(request), 400, "malformed-request")


async def test_target_longer_than_8_kib_is_414(client: AsyncClient) -> None:
    query = "x" * (MAX_TARGET_BYTES - len("/livez"))
    # The longest target passes this check, and is rejected later for its unknown parameter.
    assert (await client.get(f"/livez?{query}")).status_code == 422
    check_problem(await client.get(f"/livez?{query}y"), 414, "uri-too-long")


async def test_headers_larger_than_64_kib_are_431(client: AsyncClient) -> None:
    headers = client.build_request("GET", "/livez", headers={"x-a": ""}).headers.raw
    size = sum(len(name) + len(value) + HEADER_SEPARATOR_BYTES for name, value in headers)
    longest_value = "x" * (MAX_HEADERS_BYTES - size)
    response = await client.get("/livez", headers={"x-a": longest_value})
    assert response.status_code == 200
    response = await client.get("/livez", headers={"x-a": longest_value + "x"})
    check_problem(response, 431, "request-header-fields-too-large")


async def test_more_than_100_headers_are_431(client: AsyncClient) -> None:
    request = client.build_request("GET", "/livez")
    headers = request.headers.raw
    headers += [(b"x-a", b"")] * (MAX_HEADERS - len(headers))
    request.headers = httpx.Headers(headers)
    assert (await client.send(request)).status_code == 200
    request.headers = httpx.Headers([*headers, (b"x-a", b"")])
    check_problem(await client.send(request), 431, "request-header-fields-too-large")


async def test_malformed_message_gets_a_problem_from_the_server(private_database_url: str) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (_, origin):
        for request, expected_status in (
            (b"GET / nonsense\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00", 400),
            (b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
            (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400),
            (HEAD_TOO_LARGE, 431),
            (TARGET_TOO_LONG, 414),
        ):
            response = await exchange_bytes(origin, request)
            head, _, body = response.partition(b"\r\n\r\n")
            problem = json.loads(body)
            assert int(head.split()[1]) == expected_status
            assert b"application/problem+json" in head
            assert b"nosniff" in head.lower()
            assert b"\r\ndate: " in head
            assert problem["status"] == expected_status
            assert f"x-request-id: {problem['request_id']}" in head.decode().lower()


async def test_log_line_of_a_rejected_message_has_the_id_in_its_response(
    private_database_url: str,
) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, origin):
        assert process.stdout
        response = await exchange_bytes(origin, HEAD_TOO_LARGE)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            output = await process.stdout.readuntil(b" status=431\n")
    _, _, body = response.partition(b"\r\n\r\n")
    request_id = json.loads(body)["request_id"]
    message = "rejected a request before it reached the application: "
    assert f"[{request_id}] {message}" in output.decode()
