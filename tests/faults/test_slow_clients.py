"""Clients that leave uploads and bodies incomplete: they cannot deny the service to others."""

from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.database_activity import wait_for_query_result
from tests.support.document_forms import START_OF_FORM
from tests.support.factories import make_author, make_document
from tests.support.problems import check_too_many_requests
from tests.support.processes import running_server
from tests.support.raw_requests import open_request, post_head, upload_head

pytestmark = pytest.mark.slow

UPLOADS_PER_USER = 8
UPLOADS_PER_NETWORK = 16
BATCHES_PER_NETWORK = 4
MAX_BATCH_SIZE = 8 * 1024 * 1024
COUNT_PENDING_UPLOADS = "SELECT count(*) FROM stored_objects WHERE state = 'pending'"
NETWORK = {"X-Forwarded-For": "192.0.2.1"}
OTHER_NETWORK = {"X-Forwarded-For": "192.0.2.2"}

# Sends the beginning of a request with additional headers, and leaves the connection open.
SendIncomplete = Callable[..., Awaitable[tuple[StreamReader, StreamWriter]]]
StartUploads = Callable[[int, dict[str, str]], Awaitable[None]]


@pytest.fixture
async def origin(private_database_url: str) -> AsyncIterator[str]:
    """The origin of a server that takes the addresses of clients from X-Forwarded-For."""
    settings = {"DATABASE_URL": private_database_url, "TRUSTED_PROXIES": "127.0.0.1"}
    async with running_server(**settings) as (_, origin):
        yield origin


@pytest.fixture
async def client(origin: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(base_url=origin) as client:
        yield client


@pytest.fixture
async def send_incomplete(origin: str) -> AsyncIterator[SendIncomplete]:
    """Return a function that sends incomplete requests, which end with the test."""
    async with AsyncExitStack() as connections:

        async def send(
            head: bytes, headers: dict[str, str], body: bytes = b""
        ) -> tuple[StreamReader, StreamWriter]:
            lines = "".join(f"\r\n{name}: {value}" for name, value in headers.items()).encode()
            request = head.replace(b"\r\n\r\n", lines + b"\r\n\r\n") + body
            return await connections.enter_async_context(open_request(origin, request))

        yield send


@pytest.fixture
async def start_uploads(
    send_incomplete: SendIncomplete, private_database_url: str
) -> AsyncIterator[StartUploads]:
    """Return a function that starts a number of uploads with additional headers."""
    observer = await asyncpg.connect(private_database_url)

    async def start(count: int, headers: dict[str, str]) -> None:
        for _ in range(count):
            await send_incomplete(upload_head(10**8), headers, START_OF_FORM + b"%PDF")
        await wait_for_query_result(count, observer, COUNT_PENDING_UPLOADS)

    yield start
    await observer.close()


async def upload_file(client: AsyncClient, headers: dict[str, str]) -> Response:
    files = {"file": b"content"}
    return await client.post("/documents", data={"name": "n"}, files=files, headers=headers)


async def test_member_can_upload_while_another_member_holds_as_many_uploads_as_they_can(
    client: AsyncClient, private_database: Database, start_uploads: StartUploads
) -> None:
    member = await create_user_with_token(private_database)
    other_member = await create_user_with_token(private_database)
    await start_uploads(UPLOADS_PER_USER, member.headers)
    check_too_many_requests(await upload_file(client, member.headers))
    assert (await upload_file(client, other_member.headers)).status_code == 201


async def test_network_can_upload_while_another_network_holds_as_many_uploads_as_it_can(
    client: AsyncClient, start_uploads: StartUploads
) -> None:
    await start_uploads(UPLOADS_PER_NETWORK, NETWORK)
    check_too_many_requests(await upload_file(client, NETWORK))
    # A document without a file is not an upload.
    await make_document(client)
    assert (await upload_file(client, OTHER_NETWORK)).status_code == 201


async def test_network_can_send_a_batch_while_another_network_holds_many_incomplete_batches(
    client: AsyncClient, send_incomplete: SendIncomplete
) -> None:
    author = await make_author(client)
    batch = {"items": [{"title": "Title", "author_id": author["id"]}]}
    head = post_head("/books/batch", "application/json", MAX_BATCH_SIZE)
    for _ in range(BATCHES_PER_NETWORK):
        reader, _ = await send_incomplete(head, {"Expect": "100-continue", **NETWORK})
        # The server asks for the body after it has reserved memory for it.
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    reader, _ = await send_incomplete(head, {"Expect": "100-continue", **NETWORK})
    assert (await reader.readline()).startswith(b"HTTP/1.1 429 ")
    response = await client.post("/books/batch", json=batch, headers=OTHER_NETWORK)
    assert response.status_code == 201
