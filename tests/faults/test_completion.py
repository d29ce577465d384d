"""Attacks on the completion of direct uploads, against server processes."""

import asyncio
import re
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from httpx import AsyncClient, Response

from app.core.storage._storage import SLICE_BYTES
from tests.support.connections import reset_when_closed, tcp_connection
from tests.support.factories import make_direct_upload, make_document
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.raw_requests import post_head
from tests.support.running_service import RunningService, running_service
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.slow

PREFIX = "faults/completion/"
CONTENT = b"%PDF-1.7"
# The verification reads a large file in this many slices.
SLICE_COUNT = 4
LARGE_CONTENT = bytes((SLICE_COUNT - 1) * SLICE_BYTES + 1)
# The request with which the service reads an uploaded object.
READ_OBJECT = "GET .*/faults/completion/[0-9a-f-]+$"
# The requests of the tests are held for a while, without progress.
REQUEST_TIMEOUT = f"{TIMEOUT_SECONDS}"


@pytest.fixture(scope="module")
async def service(database_url: str, proxy: StoreProxy) -> AsyncIterator[RunningService]:
    async with running_service(
        database_url, prefix=PREFIX, S3_ENDPOINT_URL=proxy.origin, REQUEST_TIMEOUT=REQUEST_TIMEOUT
    ) as service:
        yield service


async def upload_file(client: AsyncClient, content: bytes = CONTENT) -> str:
    """Create a document, and send a file for it to the store. Return the path of the upload."""
    document = await make_document(client)
    return await make_direct_upload(
        client, f"/documents/{document['id']}", content, sha256=sha256(content).hexdigest()
    )


async def hold_completion(
    client: AsyncClient, proxy: StoreProxy, path: str
) -> asyncio.Task[Response]:
    """Start to complete an upload. Return when the service reads the object, which is held."""
    proxy.set_action(ProxyAction.HOLD, READ_OBJECT)
    task = asyncio.create_task(client.post(f"{path}/complete"))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await proxy.action_reached.wait()
    return task


async def test_upload_is_completed_by_one_request_at_a_time_in_all_processes(
    service: RunningService, proxy: StoreProxy, database_url: str
) -> None:
    path = await upload_file(service.client)
    async with (
        running_server(DATABASE_URL=database_url, S3_PREFIX=PREFIX) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as other_client,
    ):
        first = await hold_completion(service.client, proxy, path)
        for client in (service.client, other_client):
            response = await client.post(f"{path}/complete")
            check_problem(response, 409, "request-in-progress")
            assert int(response.headers["retry-after"]) >= 1
        proxy.release.set()
        assert (await first).status_code == 200
        # A client repeats the request if it did not get the response.
        repeated = await other_client.post(f"{path}/complete")
    assert repeated.status_code == 200
    assert repeated.headers["etag"] == (await first).headers["etag"]


async def test_completion_returns_409_when_sweeper_removes_object_during_verification(
    service: RunningService, proxy: StoreProxy
) -> None:
    path = await upload_file(service.client)
    completion = await hold_completion(service.client, proxy, path)
    await service.sweep()
    proxy.release.set()
    check_problem(await completion, 409, "conflict")


async def test_completion_returns_404_when_document_is_deleted_during_verification(
    service: RunningService, proxy: StoreProxy
) -> None:
    path = await upload_file(service.client)
    completion = await hold_completion(service.client, proxy, path)
    deletion = await service.client.delete(path.partition("/uploads")[0])
    assert deletion.status_code == 204
    proxy.release.set()
    check_problem(await completion, 404, "not-found")


async def test_uploads_do_not_wait_for_verifications(
    service: RunningService, proxy: StoreProxy
) -> None:
    paths = [await upload_file(service.client) for _ in range(12)]
    completion = await hold_completion(service.client, proxy, paths[0])
    waiting_completions = [
        asyncio.create_task(service.client.post(f"{path}/complete")) for path in paths[1:]
    ]
    await make_document(service.client, content=CONTENT)
    assert not completion.done()
    proxy.release.set()
    responses = await asyncio.gather(completion, *waiting_completions)
    assert {response.status_code for response in responses} == {200}


async def test_verification_ends_when_connection_is_reset(
    service: RunningService, proxy: StoreProxy
) -> None:
    path = await upload_file(service.client, LARGE_CONTENT)
    proxy.set_action(ProxyAction.HOLD, READ_OBJECT)
    async with tcp_connection(service.origin) as (_, writer):
        writer.write(post_head(f"{path}/complete", "application/json", 0))
        await proxy.action_reached.wait()
        reset_when_closed(writer)
    proxy.release.set()
    await service.check_idle()
    reads = [line for line in proxy.request_lines if re.search(READ_OBJECT, line)]
    assert len(reads) < SLICE_COUNT
    # The upload can be completed by another request immediately.
    response = await service.client.post(f"{path}/complete")
    assert response.status_code == 200, response.text


async def test_concurrent_completions_of_a_wrong_file_are_refused(service: RunningService) -> None:
    document = await make_document(service.client)
    path = await make_direct_upload(
        service.client, f"/documents/{document['id']}", CONTENT, sha256="0" * 64
    )
    responses = await asyncio.gather(*(service.client.post(f"{path}/complete") for _ in range(20)))
    assert {response.status_code for response in responses} <= {404, 409}
    check_problem(await service.client.post(f"{path}/complete"), 404, "not-found")
