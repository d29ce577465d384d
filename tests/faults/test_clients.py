"""Clients that disconnect while their request is in progress."""

from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from app.documents.upload import PART_SIZE
from tests.support import database_activity
from tests.support.connections import reset_when_closed
from tests.support.document_forms import START_OF_FORM
from tests.support.factories import make_author
from tests.support.raw_requests import open_request, upload_head
from tests.support.running_service import POOL_SIZE, RunningService, running_service

pytestmark = pytest.mark.slow

DISCONNECT = pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
UPLOAD_HEAD = upload_head(10**8)
# The bytes that a client sends of an upload before it disconnects.
INCOMPLETE_HEAD = UPLOAD_HEAD[:50]
UPLOAD_WITHOUT_FILE = UPLOAD_HEAD + START_OF_FORM[:40]
# The service creates a row for an upload as soon as the file begins.
FIRST_PART = UPLOAD_HEAD + START_OF_FORM + b"%PDF"
THIRD_PART = UPLOAD_HEAD + START_OF_FORM + bytes(2 * PART_SIZE)
COUNT_PENDING_UPLOADS = "SELECT count(*) FROM stored_objects WHERE state = 'pending'"


@pytest.fixture(scope="module")
async def service(database_url: str) -> AsyncIterator[RunningService]:
    async with running_service(database_url, prefix="faults/clients/") as service:
        yield service


def disconnect(writer: StreamWriter, *, reset: bool) -> None:
    """Close the connection of a client, normally or with a TCP reset."""
    if reset:
        reset_when_closed(writer)
    writer.close()


@DISCONNECT
async def test_service_recovers_when_clients_disconnect_during_queries(
    reset: bool, service: RunningService, database_url: str
) -> None:
    author = await make_author(service.client)
    path = f"/authors/{author['id']}"
    get_request = f"GET {path} HTTP/1.1\r\nHost: b\r\n\r\n"
    patch_request = (
        f"PATCH {path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
        'Content-Length: 13\r\n\r\n{"name": "x"}'
    )
    observer = await asyncpg.connect(database_url)
    locker = await asyncpg.connect(database_url)
    async with AsyncExitStack() as connections, locker.transaction():
        await locker.execute("LOCK TABLE authors IN ACCESS EXCLUSIVE MODE")
        writers = []
        for request in [get_request, patch_request] * POOL_SIZE:
            connection = open_request(service.origin, request.encode())
            _, writer = await connections.enter_async_context(connection)
            writers.append(writer)
        await database_activity.wait_for_query_result(
            POOL_SIZE, observer, database_activity.COUNT_WAITING_FOR_LOCK
        )
        for writer in writers:
            disconnect(writer, reset=reset)
        assert (await service.client.get("/livez")).status_code == 200
    await observer.close()
    await locker.close()
    await service.check_recovered()


@DISCONNECT
async def test_service_recovers_when_clients_disconnect_during_uploads(
    reset: bool, service: RunningService, database_url: str
) -> None:
    incomplete_requests = [INCOMPLETE_HEAD, UPLOAD_WITHOUT_FILE, FIRST_PART, THIRD_PART]
    async with AsyncExitStack() as connections:
        writers = []
        for first_bytes in incomplete_requests * 2:
            connection = open_request(service.origin, first_bytes)
            _, writer = await connections.enter_async_context(connection)
            writers.append(writer)
        observer = await asyncpg.connect(database_url)
        # Two clients each have sent the first and the third part.
        await database_activity.wait_for_query_result(4, observer, COUNT_PENDING_UPLOADS)
        await observer.close()
        for writer in writers:
            disconnect(writer, reset=reset)
    await service.check_recovered()
