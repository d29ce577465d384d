"""Faults of the object store: requests that need it are 503, and the sweeper repairs the rest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import NamedTuple

import pytest
from httpx import AsyncClient, Response

from app.documents.upload import PART_SIZE
from tests.support.factories import make_author, make_direct_upload, make_document
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, poll_until
from tests.support.running_service import (
    REQUEST_TIMEOUT,
    TOLERANCE_SECONDS,
    RunningService,
    running_service,
)
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.slow

# The service stores a small file with a single request, and a large one in two parts.
SMALL_FILE = b"%PDF-1.7 small"
LARGE_FILE = bytes(PART_SIZE + 1)

SendRequest = Callable[[], Awaitable[Response]]
# Creates what a request needs, and returns a function that sends the request.
PrepareRequest = Callable[[AsyncClient], Awaitable[SendRequest]]


class StoreCall(NamedTuple):
    """A call to the object store, and a request to the service that makes this call."""

    # Matches the method and the target of the call, for example "PUT /bucket/key?partNumber=1".
    pattern: str
    prepare_request: PrepareRequest
    # The status of the request when the call fails, and when it succeeds afterwards.
    status_on_failure: int
    status_on_success: int


@pytest.fixture(scope="module")
async def service(database_url: str, proxy: StoreProxy) -> AsyncIterator[RunningService]:
    async with running_service(
        database_url, prefix="faults/store/", S3_ENDPOINT_URL=proxy.origin
    ) as service:
        yield service


def prepare_upload(content: bytes, field: str = "name") -> PrepareRequest:
    """Prepare the upload of a document. It is invalid (422) if its name is in another `field`."""

    async def prepare(client: AsyncClient) -> SendRequest:
        files = {"file": ("a.pdf", content), field: (None, "x")}
        return lambda: client.post("/documents", files=files)  # type: ignore[arg-type]

    return prepare


async def prepare_deletion(client: AsyncClient) -> SendRequest:
    document = await make_document(client, content=SMALL_FILE)
    return lambda: client.delete(f"/documents/{document['id']}")


async def prepare_direct_upload(client: AsyncClient) -> SendRequest:
    document = await make_document(client)
    path = f"/documents/{document['id']}/uploads"
    upload = {"filename": "a.pdf", "content_type": "application/pdf", "size": 1}
    return lambda: client.post(path, json=upload)


async def prepare_completion(client: AsyncClient) -> SendRequest:
    document = await make_document(client)
    upload_path = await make_direct_upload(client, f"/documents/{document['id']}", SMALL_FILE)
    return lambda: client.post(f"{upload_path}/complete")


STORE_CALLS = {
    "put": StoreCall("PUT", prepare_upload(SMALL_FILE), 503, 201),
    "start": StoreCall("POST .*[?]uploads", prepare_upload(LARGE_FILE), 503, 201),
    "first part": StoreCall("partNumber=1", prepare_upload(LARGE_FILE), 503, 201),
    "last part": StoreCall("partNumber=2", prepare_upload(LARGE_FILE), 503, 201),
    "complete": StoreCall("POST .*[?]uploadId", prepare_upload(LARGE_FILE), 503, 201),
    "abort": StoreCall("DELETE .*[?]uploadId", prepare_upload(LARGE_FILE, "nome"), 422, 422),
    "delete": StoreCall("DELETE", prepare_deletion, 204, 404),
    "start direct upload": StoreCall("POST .*[?]uploads", prepare_direct_upload, 503, 201),
    "list parts": StoreCall("GET .*uploadId", prepare_completion, 503, 200),
    "complete direct upload": StoreCall("POST .*[?]uploadId", prepare_completion, 503, 200),
    "head": StoreCall("HEAD", prepare_completion, 503, 200),
}
# Calls that can be held at the same time. None of them waits for another, or undoes its effect.
CONCURRENT_CALLS = {
    "put and part": (r"PUT [^?]*$|partNumber=2", ["put", "last part"]),
    "complete": ("POST .*[?]uploadId", ["complete", "complete direct upload"]),
    "head and delete": ("HEAD|DELETE", ["head", "delete"]),
}


@pytest.mark.parametrize("call_name", STORE_CALLS)
async def test_request_succeeds_once_the_call_that_failed_succeeds(
    call_name: str, service: RunningService, proxy: StoreProxy
) -> None:
    call = STORE_CALLS[call_name]
    send_request = await call.prepare_request(service.client)
    proxy.set_action(ProxyAction.RESET, call.pattern)
    response = await send_request()
    assert response.status_code == call.status_on_failure, response.text
    if response.status_code == 503:
        check_problem(response, 503, "unavailable")
        assert response.headers["retry-after"] == "1"
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await proxy.action_reached.wait()
    proxy.set_action(ProxyAction.PASS)
    assert (await send_request()).status_code == call.status_on_success
    await service.check_recovered()


@pytest.mark.parametrize("case", CONCURRENT_CALLS)
async def test_request_times_out_when_the_store_does_not_respond_to_a_call(
    case: str, service: RunningService, proxy: StoreProxy
) -> None:
    """The calls are completed later, when no request is waiting for them any more."""
    pattern, call_names = CONCURRENT_CALLS[case]
    calls = [STORE_CALLS[name] for name in call_names]
    requests = [await call.prepare_request(service.client) for call in calls]
    proxy.set_action(ProxyAction.HOLD, pattern)
    started_at = monotonic()
    responses = await asyncio.gather(*(send_request() for send_request in requests))
    statuses = [response.status_code for response in responses]
    assert statuses == [call.status_on_failure for call in calls]
    assert monotonic() - started_at < REQUEST_TIMEOUT + TOLERANCE_SECONDS
    assert len(proxy.request_lines) >= len(calls)
    await service.check_idle()
    proxy.release.set()
    proxy.set_action(ProxyAction.PASS)
    await service.check_recovered()


async def test_only_uploads_fail_while_the_store_is_down(
    service: RunningService, proxy: StoreProxy
) -> None:
    client = service.client
    document = await make_document(client, content=SMALL_FILE)
    proxy.set_action(ProxyAction.RESET)
    problem = check_problem(await client.get("/readyz"), 503, "unavailable")
    assert problem["detail"].startswith("storage: ")
    for response in await asyncio.gather(
        *(
            client.post("/documents", files={"file": SMALL_FILE}, data={"name": "x"})
            for _ in range(4)
        )
    ):
        check_problem(response, 503, "unavailable")
    assert (await client.get(f"/documents/{document['id']}")).status_code == 200
    await make_author(client)
    proxy.set_action(ProxyAction.PASS)
    await service.check_recovered()


async def test_other_requests_succeed_while_the_store_is_slow(
    service: RunningService, proxy: StoreProxy
) -> None:
    client = service.client
    proxy.set_action(ProxyAction.HOLD, "PUT")
    uploads = [asyncio.create_task(make_document(client, content=SMALL_FILE)) for _ in range(6)]

    async def all_uploads_wait() -> bool:
        puts = [line for line in proxy.request_lines if line.startswith("PUT")]
        return len(puts) == len(uploads)

    await poll_until(all_uploads_wait)
    await make_author(client)
    for path in ("/readyz", "/documents", "/books"):
        assert (await client.get(path)).status_code == 200
    assert not any(upload.done() for upload in uploads)
    proxy.release.set()
    await asyncio.gather(*uploads)
    proxy.set_action(ProxyAction.PASS)
    await service.check_recovered()


async def test_sweep_that_cannot_delete_a_file_or_list_uploads_can_be_repeated(
    service: RunningService, proxy: StoreProxy
) -> None:
    delete_document = await prepare_deletion(service.client)
    proxy.set_action(ProxyAction.RESET, "DELETE|[?&]uploads")
    assert (await delete_document()).status_code == 204
    result = await service.sweep(s3_endpoint_url=proxy.origin)
    assert len(result.failed_steps) == 2
    proxy.set_action(ProxyAction.PASS)
    await service.check_recovered()
