"""nginx and HAProxy with the configurations of deploy/, in front of real servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import pytest
from httpx import AsyncClient
from starlette.types import Receive, Scope, Send

from tests.support import servers
from tests.support.connections import tcp_connection
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.factories import make_author
from tests.support.metrics import find_free_port
from tests.support.processes import TIMEOUT_SECONDS, poll_until
from tests.support.programs import CURL, run_program
from tests.support.protocol_server import (
    respond_ok,
    send_body,
    serving_app,
    start_response,
    start_response_of_unknown_length,
)
from tests.support.proxied_servers import ProxyLoad, ServerPair, running_proxy_load
from tests.support.proxies import (
    HOST,
    NAMES,
    Proxy,
    is_installed,
    running_proxy,
    skip_without_proxy,
)
from tests.support.raw_requests import RawResponse, send_raw_request, upload_head

MAX_UPLOAD_SIZE = 1024 * 1024
# nginx sends what has filled one of its buffers.
BEGINNING_OF_STREAM = b"x" * 100_000
needs_curl = pytest.mark.skipif(not CURL, reason="curl is not installed")


@pytest.fixture(scope="module")
async def pair(template_url: str) -> AsyncIterator[ServerPair]:
    """Two servers that all tests of this module share. Only the first one is running."""
    async with servers.open_copy(template_url) as url:
        server_pair = ServerPair(
            url,
            ALLOWED_HOSTS=f"{HOST},test",
            MAX_UPLOAD_SIZE=str(MAX_UPLOAD_SIZE),
            TRUSTED_PROXIES="127.0.0.1",
        )
        try:
            await server_pair.start(0)
            yield server_pair
        finally:
            await server_pair.stop_all()


@pytest.fixture(scope="module", params=NAMES)
def proxy(request: pytest.FixtureRequest, pair: ServerPair) -> Iterator[Proxy]:
    skip_without_proxy(request.param)
    with running_proxy(request.param, pair.addresses) as running:
        yield running


@pytest.fixture(scope="module", params=NAMES)
def proxy_without_servers(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    skip_without_proxy(request.param)
    closed_addresses = [f"127.0.0.1:{find_free_port()}" for _ in range(2)]
    with running_proxy(request.param, closed_addresses) as running:
        yield running


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[AsyncClient]:
    async with proxy.create_client() as proxy_client:
        yield proxy_client


async def send(proxy: Proxy, *lines: str, body: bytes = b"") -> RawResponse:
    """Send a request line and headers, and then a body. Return the response of the proxy."""
    head = "\r\n".join([*lines, "Host: test", "", ""])
    return await send_raw_request(proxy.origin, head.encode() + body, tls=proxy.tls)


async def create_author_with_http_2(proxy: Proxy, name: str) -> str:
    """Send a POST with curl. Return the version of HTTP and the status, for example "2 201"."""
    options = [
        *("--silent", "--http2", "--cacert", str(proxy.directory / f"{HOST}.pem")),
        *("--header", f"Host: {HOST}", "--json", json.dumps({"name": name})),
        *("--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"),
    ]
    return await run_program(str(CURL), *options, f"{proxy.origin}/authors")


class TransferApp:
    """An application whose requests and responses take as long as a test wants."""

    def __init__(self) -> None:
        self.has_received_bytes = asyncio.Event()
        self.may_end_stream = asyncio.Event()
        self.received_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await self._receive_upload(receive)
            await respond_ok(receive, send)
        elif scope["path"] == "/stream":
            await start_response_of_unknown_length(send)
            await send_body(send, BEGINNING_OF_STREAM, more=True)
            await self.may_end_stream.wait()
            await send_body(send, b"end")
        else:
            await respond_ok(receive, send)

    async def _receive_upload(self, receive: Receive) -> None:
        has_more = True
        while has_more:
            message = await receive()
            self.received_bytes += len(message["body"])
            if self.received_bytes:
                self.has_received_bytes.set()
            has_more = message["more_body"]


@dataclass
class Transfer:
    """An application of the test, and a client of the proxy in front of it."""

    app: TransferApp
    client: AsyncClient


@pytest.fixture(params=NAMES)
async def transfer(request: pytest.FixtureRequest) -> AsyncIterator[Transfer]:
    skip_without_proxy(request.param)
    app = TransferApp()
    async with serving_app(app) as origin:
        address = origin.removeprefix("http://")
        with running_proxy(request.param, [address, address]) as running:
            async with running.create_client() as proxy_client:
                yield Transfer(app, proxy_client)


async def test_upload_reaches_server_while_client_is_sending_it(transfer: Transfer) -> None:
    chunk = b"x" * 3_000_000

    async def upload() -> AsyncIterator[bytes]:
        yield chunk
        await transfer.app.has_received_bytes.wait()
        yield chunk

    async with asyncio.timeout(TIMEOUT_SECONDS):
        response = await transfer.client.post("/", content=upload())
    assert response.status_code == 200
    assert transfer.app.received_bytes == 2 * len(chunk)


async def test_stream_reaches_client_while_server_is_sending_it(transfer: Transfer) -> None:
    async with transfer.client.stream("GET", "/stream") as response:
        chunks = response.aiter_raw()
        body = await anext(chunks)
        transfer.app.may_end_stream.set()
        async for chunk in chunks:
            body += chunk
    assert body == BEGINNING_OF_STREAM + b"end"


async def test_entity_tag_is_not_changed(client: AsyncClient) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    response = await client.get(path, headers={"Accept-Encoding": "gzip"})
    assert response.headers["etag"] == '"1"'
    cached = await client.get(path, headers={"If-None-Match": '"1"'})
    assert (cached.status_code, cached.content) == (304, b"")
    for status in (200, 412):
        change = await client.patch(path, json={"name": "Ada"}, headers={"If-Match": '"1"'})
        assert change.status_code == status


async def test_head_response_has_length_but_no_body(client: AsyncClient) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    response = await client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    content = (await client.get(path)).content
    assert response.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([f"GET /books?q={'x' * 9_000} HTTP/1.1"], 414),
        (["GET /books HTTP/1.1", f"X-Large: {'x' * 66_000}"], 431),
        (["GET /books HTTP/1.1", *(f"X-{number}: x" for number in range(105))], 431),
        (["POST /tokens HTTP/1.1"], 415),
        (["POST /authors HTTP/1.1", "Content-Length: 100000"], 413),
    ],
    ids=["target", "header", "headers", "no-body", "body"],
)
async def test_service_itself_refuses_a_request(
    proxy: Proxy, lines: list[str], status: int
) -> None:
    response = await send(proxy, *lines)
    assert response.status == status
    assert json.loads(response.body)["type"].startswith("urn:problem-type:")


async def test_upload_that_is_too_large_is_refused_at_its_beginning(proxy: Proxy) -> None:
    head = upload_head(content_length=100 * MAX_UPLOAD_SIZE)
    beginning = START_OF_FORM + b"x" * (2 * MAX_UPLOAD_SIZE)
    response = await send_raw_request(proxy.origin, head + beginning, tls=proxy.tls)
    assert response.status == 413


async def test_client_that_waits_for_100_continue_can_upload(proxy: Proxy) -> None:
    body = START_OF_FORM + b"content" + END_OF_FORM
    head = upload_head(len(body)).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        tcp_connection(proxy.origin, proxy.tls) as (reader, writer),
    ):
        writer.write(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")


async def test_client_of_http_1_0_gets_a_stream_without_chunks(proxy: Proxy) -> None:
    async with proxy.create_client() as client:
        author = await make_author(client)
    request = "GET /authors.ndjson HTTP/1.0\r\nHost: test\r\n\r\n"
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        tcp_connection(proxy.origin, proxy.tls) as (reader, writer),
    ):
        writer.write(request.encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert b"transfer-encoding" not in head.lower()
    assert author["id"] in {json.loads(line)["id"] for line in body.splitlines()}


async def test_failed_logins_are_counted_by_the_address_of_the_client(
    proxy: Proxy, pair: ServerPair
) -> None:
    wrong_login = {"username": "ada@example.com", "password": "wrong password"}
    for address in ("127.0.0.2", "127.0.0.3", "127.0.0.3"):
        async with proxy.create_client(local_address=address) as client:
            # A client must not be able to choose its address.
            headers = {"X-Forwarded-For": f"203.0.113.7, {address}7"}
            response = await client.post("/tokens", data=wrong_login, headers=headers)
            assert response.status_code == 401
    connection = await asyncpg.connect(pair.database_url)
    query = "SELECT count(*) FROM attempt_counters WHERE kind = 'network'"
    assert await connection.fetchval(query) == 2
    await connection.close()


@needs_curl
async def test_client_of_http_2_can_create_an_author(proxy: Proxy) -> None:
    assert await create_author_with_http_2(proxy, "Ada") == "2 201"


async def test_unencrypted_request_is_redirected(proxy: Proxy) -> None:
    async with AsyncClient(base_url=proxy.plain_origin, headers={"Host": HOST}) as client:
        response = await client.get("/books?q=ada")
    assert response.status_code == 308
    assert response.headers["location"] == f"https://{HOST}/books?q=ada"


async def test_metrics_are_not_served(client: AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.status_code == 404
    # The proxy itself responds.
    assert "x-request-id" not in response.headers


async def test_proxy_without_servers_responds_with_problem(proxy_without_servers: Proxy) -> None:
    async with proxy_without_servers.create_client() as client:
        response = await client.post("/authors", json={"name": "Ada"})
    assert response.status_code in {502, 503}
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "1"
    assert response.json()["status"] == response.status_code


@needs_curl
async def test_client_of_http_2_gets_response_of_proxy_without_servers(
    proxy_without_servers: Proxy,
) -> None:
    if proxy_without_servers.name == "haproxy":
        for server in ("server1", "server2"):
            await wait_until_down(proxy_without_servers, server, "alive")
    # The proxy can respond before it has all of this body.
    for _ in range(4):
        result = await create_author_with_http_2(proxy_without_servers, "x" * 90_000)
        assert result in {"2 502", "2 503"}


async def respond_although_not_ready(scope: Scope, _: Receive, send: Send) -> None:
    """Respond like a server whose database has a standby and no primary."""
    is_served = scope["method"] == "GET" and scope["path"] != "/readyz"
    await start_response(send, content_length=2, status=200 if is_served else 503)
    await send_body(send, b"ok")


async def test_requests_reach_running_servers_while_none_is_ready() -> None:
    skip_without_proxy("haproxy")
    async with serving_app(respond_although_not_ready) as origin:
        address = origin.removeprefix("http://")
        with running_proxy("haproxy", [address, address]) as haproxy:
            # At first, HAProxy takes all servers for ready.
            for server in ("server1", "server2"):
                await wait_until_down(haproxy, server)
            async with haproxy.create_client() as client:
                read = await client.get("/authors")
                write = await client.post("/authors", json={"name": "Ada"})
    assert (read.status_code, read.text) == (200, "ok")
    assert (write.status_code, write.text) == (503, "ok")


async def test_no_request_fails_while_a_server_is_replaced(pair: ServerPair) -> None:
    async with AsyncExitStack() as stack:
        installed_proxies = [
            stack.enter_context(running_proxy(name, pair.addresses))
            for name in NAMES
            if is_installed(name)
        ]
        if not installed_proxies:
            pytest.skip("neither nginx nor HAProxy is installed")
        # The proxies have found this server down. They find it again while clients send requests.
        await pair.start(1)
        loads = [
            await stack.enter_async_context(running_proxy_load(installed_proxy))
            for installed_proxy in installed_proxies
        ]
        await replace_server(pair, loads)
    for load in loads:
        assert set(load.outcomes) == {"POST 201", "GET 200", "PATCH 200", "DELETE 204"}


async def replace_server(pair: ServerPair, loads: list[ProxyLoad]) -> None:
    """Stop the first server when the clients of all proxies have reached the second one."""
    for load in loads:
        # Both kinds of requests have reached the new server.
        await pair.wait_until_logged(1, f"{load.proxy.name}-GET")
        await pair.wait_until_logged(1, f"{load.proxy.name}-POST")
    pair.begin_shutdown(0)
    for load in loads:
        if load.proxy.name == "haproxy":
            # The checks get responses, so the port is not closed yet.
            assert await wait_until_down(load.proxy, "server1") == ("L7STS", "503")
    await pair.wait_until_stopped(0)
    for load in loads:
        await load.wait_for_progress()


async def wait_until_down(haproxy: Proxy, server: str, backend: str = "reads") -> tuple[str, str]:
    """Wait until HAProxy takes a server for not ready. Return the result of its check."""
    result = ("", "")

    async def is_down() -> bool:
        nonlocal result
        state, *check_result = haproxy.read_check(backend, server)
        result = (check_result[0], check_result[1])
        return state == "DOWN"

    await poll_until(is_down)
    return result
