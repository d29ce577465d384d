"""Parts and files that the object store does not accept at the first attempt."""

import asyncio
from random import Random

import pytest
from httpx import AsyncClient

from app.core.storage import Storage
from app.core.storage import _s3_clients as s3_clients
from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.documents.conftest import UseStore
from tests.support.factories import make_document
from tests.support.problems import check_problem
from tests.support.servers import STORE_NAME
from tests.support.store_proxy import ErrorResponse, ProxyAction, StoreProxy
from tests.support.stored_objects import list_multipart_uploads

SMALL_FILE = Random(1).randbytes(100_000)
# The service sends this file in two parts.
LARGE_FILE = Random(2).randbytes(PART_SIZE + 1000)
TEMPORARY_FAILURES: dict[str, ProxyAction | ErrorResponse] = {
    "reset": ProxyAction.RESET,
    "read timeout": ProxyAction.HOLD,
    "slow down": ProxyAction.SLOW_DOWN,
    "internal error": ErrorResponse(500, "InternalError"),
    "request timeout": ErrorResponse(400, "RequestTimeout"),
    "wrong checksum": ErrorResponse(400, "BadDigest"),
    "incomplete body": ErrorResponse(400, "IncompleteBody"),
}


@pytest.fixture(autouse=True)
def short_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_clients, "READ_TIMEOUT_SECONDS", 0.5)


async def read_file(client: AsyncClient, path: str) -> bytes:
    """Return the content of the file of a document."""
    document = (await client.get(path)).json()
    async with AsyncClient() as store_client:
        return (await store_client.get(document["file_url"])).content


@pytest.mark.parametrize("failure", ["reset", "read timeout", "wrong checksum"])
async def test_part_that_failed_once_is_sent_a_second_time(
    failure: str, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(TEMPORARY_FAILURES[failure], "partNumber=1", count=1)
    document = await make_document(client, content=LARGE_FILE)
    attempts = [line for line in proxy.request_lines if "partNumber=1" in line]
    assert len(attempts) == 2
    assert await read_file(client, f"/documents/{document['id']}") == LARGE_FILE


async def test_file_of_four_parts_is_stored_after_its_first_part_was_reset(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    content = bytes(3 * PART_SIZE) + SMALL_FILE
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.RESET, "partNumber=1", count=1)
    document = await make_document(client, content=content)
    assert await read_file(client, f"/documents/{document['id']}") == content


@pytest.mark.parametrize("failure", TEMPORARY_FAILURES)
async def test_small_file_that_failed_once_is_sent_a_second_time(
    failure: str, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(TEMPORARY_FAILURES[failure], "PUT", count=1)
    document = await make_document(client, content=SMALL_FILE)
    assert len(proxy.request_lines) == 2
    assert await read_file(client, f"/documents/{document['id']}") == SMALL_FILE


@pytest.mark.parametrize("failure", ["slow down", "request timeout", "wrong checksum"])
async def test_upload_may_be_retried_after_two_failures_of_its_file(
    failure: str, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(TEMPORARY_FAILURES[failure], "PUT")
    response = await client.post(
        "/documents", data={"name": "Thesis"}, files={"file": ("a.pdf", SMALL_FILE)}
    )
    check_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
    assert len(proxy.request_lines) == 2


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(SMALL_FILE, id="put"),
        pytest.param(
            LARGE_FILE,
            id="parts",
            marks=pytest.mark.skipif(
                STORE_NAME == "rclone", reason="rclone deletes an upload with a damaged part"
            ),
        ),
    ],
)
async def test_bytes_that_were_damaged_on_the_way_are_sent_again_if_they_have_a_checksum(
    content: bytes, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin, s3_checksums="always")
    proxy.set_action(ProxyAction.DAMAGE, "PUT", count=1)
    document = await make_document(client, content=content)
    assert proxy.action_reached.is_set()
    assert await read_file(client, f"/documents/{document['id']}") == content


async def test_upload_expires_if_its_parts_are_removed_before_the_second_attempt(
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    storage: Storage,
    settings: Settings,
) -> None:
    earlier_uploads = await list_multipart_uploads(storage, settings.s3_prefix)
    earlier_ids = {upload.id for upload in earlier_uploads}
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD, "partNumber=1", count=1)
    request = client.post(
        "/documents", data={"name": "Thesis"}, files={"file": ("a.pdf", LARGE_FILE)}
    )
    request_task = asyncio.create_task(request)
    await proxy.action_reached.wait()
    uploads = await list_multipart_uploads(storage, settings.s3_prefix)
    # An upload of an earlier test may still be there.
    (upload,) = [upload for upload in uploads if upload.id not in earlier_ids]
    await storage.abort_multipart_upload(upload.key, upload.id)
    check_problem(await request_task, 409, "conflict")
