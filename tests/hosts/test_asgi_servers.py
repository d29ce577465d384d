"""The service on other ASGI servers: requests, streams, disconnected clients and shutdown.

`make hosts` installs all of the servers. Those that are not installed are skipped.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from http import HTTPStatus

import asyncpg
import httpx
import pytest

from tests.support.asgi_servers import (
    ALL_ARE_SELECTED,
    SELECTED_SERVERS,
    AsgiServer,
    RunningServer,
    running_asgi_server,
)
from tests.support.connections import tcp_connection
from tests.support.database_activity import COUNT_BUSY, start_until_blocked, wait_for_query_result
from tests.support.factories import make_author, make_book, make_document, make_user
from tests.support.processes import TIMEOUT_SECONDS, poll_until
from tests.support.raw_requests import upload_head
from tests.support.servers import open_copy

pytestmark = pytest.mark.slow

# More than the buffers of a connection can hold.
ADD_AUTHORS = """
INSERT INTO authors (id, name) SELECT gen_random_uuid(), repeat('x', 200)
FROM generate_series(1, 20000)
"""
TERMINATE_BUSY = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf' AND state <> 'idle'
"""
STREAM = "/authors.ndjson"
HTTP_VERSIONS = ("HTTP/1.1", "HTTP/2") if ALL_ARE_SELECTED else ("HTTP/1.1",)
only_in_make_hosts = pytest.mark.skipif(
    not ALL_ARE_SELECTED, reason="make hosts runs this test, because it takes seconds"
)
FILE = bytes(range(256)) * 12_000


@pytest.fixture(scope="module", params=SELECTED_SERVERS, ids=lambda server: server.name)
async def running(
    request: pytest.FixtureRequest, template_url: str
) -> AsyncIterator[tuple[RunningServer, asyncpg.Connection]]:
    """A server, and a connection to its database that does not come from the server."""
    server: AsgiServer = request.param
    server.skip_unless_installed()
    async with open_copy(template_url) as database_url:
        connection = await asyncpg.connect(database_url)
        async with running_asgi_server(server, DATABASE_URL=database_url) as running_server:
            yield running_server, connection
        await connection.close()


@pytest.fixture
def connection(running: tuple[RunningServer, asyncpg.Connection]) -> asyncpg.Connection:
    return running[1]


@pytest.fixture(params=HTTP_VERSIONS)
async def client(
    request: pytest.FixtureRequest, running: tuple[RunningServer, asyncpg.Connection]
) -> AsyncIterator[httpx.AsyncClient]:
    is_http2 = request.param == "HTTP/2"
    server, _ = running
    if is_http2 and "hypercorn" not in str(request.node.callspec.id):
        pytest.skip("the server speaks HTTP/2 only with TLS")
    async with httpx.AsyncClient(
        base_url=server.origin, timeout=TIMEOUT_SECONDS, http1=not is_http2, http2=is_http2
    ) as client:
        yield client


async def test_scenario(client: httpx.AsyncClient, connection: asyncpg.Connection) -> None:
    author = await make_author(client)
    book = await make_book(client, author_id=author["id"])
    page = (await client.get("/books")).json()
    assert page["items"][0]["author"]["id"] == author["id"]
    stale = await client.patch(
        f"/books/{book['id']}", json={"title": "x"}, headers={"If-Match": '"9.9"'}
    )
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED
    in_use = await client.delete(f"/authors/{author['id']}")
    assert in_use.status_code == HTTPStatus.CONFLICT
    head = await client.head("/books")
    assert head.content == b""
    get = await client.get("/books")
    assert head.headers["content-length"] == get.headers["content-length"]
    document = await make_document(client, content=FILE)
    async with httpx.AsyncClient() as store_client:
        assert (await store_client.get(document["file_url"])).content == FILE
    stream = await client.get(STREAM)
    assert [json.loads(line)["id"] for line in stream.content.splitlines()] == [author["id"]]
    assert (await client.delete(f"/books/{book['id']}")).status_code == HTTPStatus.NO_CONTENT
    assert (await client.delete(f"/authors/{author['id']}")).status_code == HTTPStatus.NO_CONTENT
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def read_to_end(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/authors/1", 422),
        ("GET", "/nothing", 404),
        ("PUT", "/authors", 405),
        ("GET", "/authors?q=caf%E9", 400),
        ("GET", "/caf%E9", 400),
        ("GET", "/caf%C3%A9", 404),
        ("GET", "/authors/", 200),
        ("GET", "/authors?" + "x" * 9000, 414),
        ("OPTIONS", "/authors", 204),
        ("DELETE", "/authors/01a229a9-78ae-71ad-9981-d3762cfddbc9", 404),
    ],
)
async def test_status(client: httpx.AsyncClient, method: str, target: str, status: int) -> None:
    response = await client.request(method, target)
    assert response.status_code == status
    # Some servers have a lower limit of their own for the length of a URL.
    if status >= 400 and status != 414:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_foreign_host_is_rejected(client: httpx.AsyncClient) -> None:
    response = await client.get("/authors", headers={"Host": "evil.example"})
    assert response.status_code == HTTPStatus.BAD_REQUEST


async def test_malformed_json_is_rejected(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post("/authors", content=b'{"name": ', headers=headers)
    assert response.status_code == HTTPStatus.BAD_REQUEST
    assert response.headers["content-type"] == "application/problem+json"


async def test_email_that_is_taken_is_a_conflict(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await make_user(client)
    user = {"name": "Eve", "email": "ada@example.com", "password": "correct horse"}
    response = await client.post("/users", json=user)
    assert response.status_code == HTTPStatus.CONFLICT
    await connection.execute("DELETE FROM users")


async def test_response_before_the_end_of_the_body_arrives(client: httpx.AsyncClient) -> None:
    async def generate() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    headers = {"Content-Type": "text/plain", "Content-Length": "10000000"}
    response = await client.post("/documents", content=generate(), headers=headers)
    assert response.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


@only_in_make_hosts
async def test_stream_that_is_cut_off_is_an_error_of_the_client(
    client: httpx.AsyncClient, connection: asyncpg.Connection
) -> None:
    await connection.execute(ADD_AUTHORS)
    async with client.stream("GET", STREAM) as response:
        assert response.status_code == HTTPStatus.OK
        chunks = response.aiter_raw()
        await anext(chunks)
        await connection.execute(TERMINATE_BUSY)
        with pytest.raises(httpx.RemoteProtocolError):
            await read_to_end(chunks)
    await connection.execute("TRUNCATE authors CASCADE")


@only_in_make_hosts
async def test_disconnected_reader_of_a_stream_frees_its_database_connection(
    running: tuple[RunningServer, asyncpg.Connection],
) -> None:
    # With HTTP/2, hypercorn does not tell the application. MIN_STREAM_RATE then ends the stream.
    server, connection = running
    await connection.execute(ADD_AUTHORS)
    async with (
        httpx.AsyncClient(base_url=server.origin, timeout=TIMEOUT_SECONDS) as client,
        client.stream("GET", STREAM) as response,
    ):
        await anext(response.aiter_raw())
    await wait_for_query_result(0, connection, COUNT_BUSY)
    await connection.execute("TRUNCATE authors CASCADE")


async def test_client_that_disconnects_during_an_upload_leaves_no_document(
    running: tuple[RunningServer, asyncpg.Connection],
) -> None:
    server, connection = running
    previous_length = len(server.output)
    count_documents = "SELECT count(*) FROM documents"
    previous_count = await connection.fetchval(count_documents)
    async with tcp_connection(server.origin) as (_, writer):
        head = upload_head(1_000_000).replace(b"Host: test", b"Host: localhost")
        writer.write(head + b"--boundary\r\n")
        await writer.drain()

    async def is_logged() -> bool:
        return "path=/documents status=499" in server.output[previous_length:]

    await poll_until(is_logged)
    await wait_for_query_result(0, connection, COUNT_BUSY)
    assert await connection.fetchval(count_documents) == previous_count
    assert "Traceback" not in server.output[previous_length:]


@only_in_make_hosts
@pytest.mark.parametrize("server", SELECTED_SERVERS, ids=lambda server: server.name)
async def test_request_in_progress_is_completed_after_sigterm(
    server: AsgiServer, private_database_url: str
) -> None:
    server.skip_unless_installed()
    connection = await asyncpg.connect(private_database_url)
    locking_connection = await asyncpg.connect(private_database_url)
    async with (
        running_asgi_server(server, DATABASE_URL=private_database_url) as running,
        httpx.AsyncClient(base_url=running.origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        transaction = locking_connection.transaction()
        await transaction.start()
        await locking_connection.execute("LOCK TABLE authors")
        request = await start_until_blocked(make_author(client), connection)
        running.process.terminate()
        await asyncio.sleep(0.3)
        await transaction.rollback()
        assert (await request)["name"] == "Ursula K. Le Guin"
        await running.wait_for_end()
    await locking_connection.close()
    await connection.close()
