"""Attacks on the quotas of documents, against two server processes with one database."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from httpx import AsyncClient

from tests.support.clients_with_tokens import create_user_with_token
from tests.support.databases import open_database
from tests.support.factories import make_document
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.settings import make_settings

pytestmark = pytest.mark.slow

QUOTAS = {
    "MAX_DOCUMENTS_PER_USER": "5",
    "MAX_PENDING_UPLOADS_PER_USER": "3",
    "MAX_BYTES_PER_USER": "1MiB",
}
UPLOAD = {"filename": "a.bin", "content_type": "text/plain", "size": 1}
LARGE_UPLOAD = {**UPLOAD, "size": 512 * 1024}


@pytest.fixture(scope="module")
async def origins(database_url: str) -> AsyncIterator[list[str]]:
    """The origins of two servers with small quotas."""
    async with AsyncExitStack() as stack:
        environment = {**QUOTAS, "S3_PREFIX": "faults/quotas/", "DATABASE_URL": database_url}
        processes = [
            await stack.enter_async_context(running_server(**environment)) for _ in range(2)
        ]
        yield [origin for _, origin in processes]


@pytest.fixture
async def clients(database_url: str, origins: list[str]) -> AsyncIterator[list[AsyncClient]]:
    """A client for each server, with a token of the same new member."""
    async with open_database(make_settings(database_url)) as database:
        member = await create_user_with_token(database)
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                AsyncClient(base_url=origin, headers=member.headers, timeout=TIMEOUT_SECONDS)
            )
            for origin in origins
        ]


async def test_concurrent_creations_do_not_exceed_the_quota_of_documents(
    clients: list[AsyncClient],
) -> None:
    responses = await asyncio.gather(
        *(
            client.post("/documents", files={"name": (None, "x"), "file": (None, "")})
            for client in clients * 10
        )
    )
    statuses = Counter(response.status_code for response in responses)
    assert statuses == {201: 5, 409: 15}
    page = (await clients[0].get("/documents")).json()
    assert page["total"] == 5


async def test_concurrent_direct_uploads_do_not_exceed_their_quota(
    clients: list[AsyncClient],
) -> None:
    document = await make_document(clients[0])
    path = f"/documents/{document['id']}/uploads"
    responses = await asyncio.gather(*(client.post(path, json=UPLOAD) for client in clients * 10))
    statuses = Counter(response.status_code for response in responses)
    assert statuses == {201: 3, 409: 17}


async def test_concurrent_direct_uploads_do_not_exceed_the_quota_of_bytes(
    clients: list[AsyncClient],
) -> None:
    document = await make_document(clients[0])
    path = f"/documents/{document['id']}/uploads"
    responses = await asyncio.gather(
        *(client.post(path, json=LARGE_UPLOAD) for client in clients * 10)
    )
    statuses = Counter(response.status_code for response in responses)
    assert statuses == {201: 2, 413: 18}
