"""What holds for every request and answer, through the application and through a real server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.server._protocol import MAX_HEAD_BYTES
from app.core.server._request_limits import MAX_HEADERS_BYTES, MAX_TARGET_BYTES
from app.core.storage import Storage
from app.main import create_app
from tests.conftest import make_settings
from tests.support.connections import tcp_connection
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.resources import replace_resources

NO_ORIGIN = "https://evil.example"
ORIGIN = "https://app.example"


@asynccontextmanager
async def made(
    template_url: str, database: Database, storage: Storage, **changes: object
) -> AsyncIterator[AsyncClient]:
    """A client of an application with other settings."""
    app = create_app(make_settings(template_url, **changes))
    replace_resources(app, database=database, storage=storage)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def strict(
    template_url: str, database: Database, storage: Storage
) -> AsyncIterator[AsyncClient]:
    """A client of a service that answers for its own names only."""
    hosts = "books.example, *.books.example,[::1]"
    async with made(template_url, database, storage, allowed_hosts=hosts) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    [
        *("books.example", "Books.Example", "books.example:8000", "a.books.example"),
        *("a.b.books.example:1", "[::1]", "[::1]:8000"),
    ],
)
async def test_a_host_of_ones_own_is_answered_for(strict: AsyncClient, host: str) -> None:
    assert (await strict.get("/books", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "books.example.evil.example", "notbooks.example", ".books.example.x"),
        *("[::2]", "127.0.0.1", "books.example@evil.example", "books.example/x", "a b", ""),
    ],
)
async def test_another_host_is_not_answered_for(strict: AsyncClient, host: str) -> None:
    answer = await strict.get("/books", headers={"Host": host})
    check_problem(answer, 400, "malformed-request")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_know_addresses_and_no_names(strict: AsyncClient, path: str) -> None:
    assert (await strict.get(path, headers={"Host": "10.0.0.7:8000"})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7", "localhost:1"])
async def test_unless_hosts_are_named_any_is_answered_for(client: AsyncClient, host: str) -> None:
    assert (await client.get("/books", headers={"Host": host})).status_code == 200


async def test_a_request_has_exactly_one_host(client: AsyncClient, app: FastAPI) -> None:
    for hosts in ([], ["test", "test"], ["a", "b"]):
        request = httpx.Request("GET", "http://test/livez")
        others = [pair for pair in request.headers.raw if pair[0].lower() != b"host"]
        request.headers = httpx.Headers([*others, *((b"host", each.encode()) for each in hosts)])
        check_problem(await client.send(request), 400, "malformed-request")


async def test_a_target_may_be_8_kib_long(client: AsyncClient) -> None:
    query = "x" * (MAX_TARGET_BYTES - len("/livez"))
    assert (await client.get(f"/livez?{query}")).status_code == 422
    check_problem(await client.get(f"/livez?{query}y"), 414, "uri-too-long")


async def test_a_header_may_be_64_kib_large(client: AsyncClient) -> None:
    others = client.build_request("GET", "/livez", headers={"x-a": ""}).headers.raw
    room = MAX_HEADERS_BYTES - sum(len(name) + len(value) + 4 for name, value in others)
    assert (await client.get("/livez", headers={"x-a": "x" * room})).status_code == 200
    answer = await client.get("/livez", headers={"x-a": "x" * (room + 1)})
    check_problem(answer, 431, "request-header-fields-too-large")


@pytest.mark.parametrize("path", ["/livez", "/books", "/nowhere", "/books/0", "/docs"])
async def test_every_answer_tells_browsers_what_it_is(client: AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'; frame-ancestors 'none'" in headers["content-security-policy"]


async def test_no_page_of_another_origin_reads_an_answer(client: AsyncClient) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    for answer in (await client.get("/books", headers=asked), await client.options("/books")):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_pages_of_origins_that_are_named_read_answers(
    template_url: str, database: Database, storage: Storage
) -> None:
    async with made(template_url, database, storage, cors_origins=ORIGIN) as client:
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH"}
        asked["Access-Control-Request-Headers"] = "authorization, if-match"
        before = await client.options("/books/1", headers=asked)
        assert before.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in before.headers["access-control-allow-headers"]
        answer = await client.get("/books", headers={"Origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "ETag" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
        other = await client.get("/books", headers={"Origin": NO_ORIGIN})
        assert "access-control-allow-origin" not in other.headers


async def test_the_pages_for_people_can_be_switched_off(
    template_url: str, database: Database, storage: Storage
) -> None:
    async with made(template_url, database, storage, docs_enabled=False) as client:
        for path in ("/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
            check_problem(await client.get(path), 404, "not-found")
        assert (await client.get("/books")).status_code == 200


async def sent(origin: str, *chunks: bytes) -> bytes:
    """What a real server answers to bytes, until it closes the connection."""
    async with tcp_connection(origin) as (reader, writer):
        with suppress(ConnectionError):  # it has answered already
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
        return await reader.read()


@pytest.fixture
async def origin(private_database_url: str) -> AsyncIterator[str]:
    async with running_server(DATABASE_URL=private_database_url) as (_, found):
        yield found


# A header that goes on in one line, as far as anybody reads it.
ENDLESS = b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A: ".ljust(MAX_HEAD_BYTES + 1, b"x")
ENDLESS_TARGET = b"GET /".ljust(MAX_HEAD_BYTES + 1, b"x")


async def test_a_real_server_refuses_what_is_no_http_with_a_problem(origin: str) -> None:
    for chunks, status in (
        ([b"GET / nonsense\r\n\r\n"], 400),
        ([b"\x16\x03\x01\x02\x00"], 400),
        ([b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"], 400),
        ([b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"], 400),
        ([ENDLESS], 431),
        ([ENDLESS_TARGET], 414),
    ):
        head, _, body = (await sent(origin, *chunks)).partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert b"application/problem+json" in head
        assert b"nosniff" in head.lower()
        assert json.loads(body)["status"] == status
        assert f"x-request-id: {json.loads(body)['request_id']}" in head.decode().lower()


async def test_what_is_refused_before_it_is_a_request_is_in_the_log_under_its_id(
    private_database_url: str,
) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, origin):
        assert process.stdout
        _, _, body = (await sent(origin, ENDLESS)).partition(b"\r\n\r\n")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            said = await process.stdout.readuntil(b" status=431\n")
    assert (
        f"[{json.loads(body)['request_id']}] rejected a request before it reached the application: "
        in said.decode()
    )


async def addresses_tried(url: str, trusted: str) -> int:
    """From how many addresses the service believes that three log-ins came."""
    wrong = {"username": "ada@example.com", "password": "wrong password"}
    async with running_server(DATABASE_URL=url, TRUSTED_PROXIES=trusted) as (_, origin):
        for forwarded in ("203.0.113.7", "203.0.113.8, 127.0.0.9", "203.0.113.7, 203.0.113.8"):
            headers = {"X-Forwarded-For": forwarded}
            assert httpx.post(f"{origin}/tokens", data=wrong, headers=headers).status_code == 401
    connection = await asyncpg.connect(url)
    found: int = await connection.fetchval(
        "SELECT count(*) FROM login_failures WHERE kind = 'address'"
    )
    await connection.close()
    return found


async def test_only_a_trusted_proxy_tells_who_asks(private_database_url: str) -> None:
    assert await addresses_tried(private_database_url, "") == 1
    assert await addresses_tried(private_database_url, "127.0.0.0/8, ::1") == 1 + 2
