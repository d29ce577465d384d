"""Quotas of documents, bytes and pending direct uploads, for each owner."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient, Response
from pydantic import ByteSize

from app.settings import Settings
from tests.documents.conftest import ListObjectStates, MakeObjectsStale, Sweep, UseStore
from tests.support.clients_with_tokens import ClientFactory
from tests.support.document_forms import SMALL_CHUNK, stream_document_form
from tests.support.factories import make_direct_upload, make_document
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.store_proxy import ProxyAction, StoreProxy

MIB = 1024 * 1024
# The actual numbers of each owner, in the columns of `document_usage`.
ACTUAL_USAGE = """
SELECT owner_id, sum(documents)::bigint AS documents, sum(uploads)::bigint AS pending_uploads,
    sum(size)::bigint AS bytes
FROM (
    SELECT owner_id, 1 AS documents, 0 AS uploads, coalesce(size, 0) AS size FROM documents
    UNION ALL SELECT owner_id, 0, 1, size FROM stored_objects WHERE state = 'pending'
) AS rows
WHERE owner_id IS NOT NULL GROUP BY owner_id ORDER BY owner_id
"""
RECORDED_USAGE = """
SELECT * FROM document_usage WHERE documents + pending_uploads + bytes <> 0 ORDER BY owner_id
"""


@pytest.fixture(autouse=True)
def small_quotas(settings: Settings) -> None:
    settings.max_documents_per_user = 3
    settings.max_pending_uploads_per_user = 2
    settings.max_bytes_per_user = ByteSize(1000)


@pytest.fixture
async def alice(client_with_role: ClientFactory) -> AsyncClient:
    return await client_with_role("member")


@pytest.fixture(autouse=True)
async def usage_is_correct(outside_connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Check after each test that the recorded numbers are those of the rows."""
    yield
    recorded = await outside_connection.fetch(RECORDED_USAGE)
    assert recorded == await outside_connection.fetch(ACTUAL_USAGE)


async def create(client: AsyncClient, size: int = 0) -> Response:
    """Send a request that creates a document with a file of this size, or without a file."""
    files: dict[str, Any] = {"file": (None, "")}
    if size > 0:
        files = {"file": ("a.bin", bytes(size))}
    return await client.post("/documents", data={"name": "Thesis"}, files=files)


async def replace(client: AsyncClient, path: str, size: int) -> Response:
    return await client.patch(path, files={"file": ("a.bin", bytes(size))})


async def announce(client: AsyncClient, path: str, size: int) -> Response:
    file = {"filename": "a.bin", "content_type": "text/plain", "size": size}
    return await client.post(f"{path}/uploads", json=file)


async def test_document_above_the_quota_is_refused_until_one_is_deleted(alice: AsyncClient) -> None:
    paths = [f"/documents/{(await make_document(alice))['id']}" for _ in range(3)]
    for size in (0, 10):
        problem = check_problem(await create(alice, size), 409, "too-many-documents")
        assert problem["detail"] == "The owner already has 3 documents, which is the maximum"
    assert (await alice.patch(paths[0], files={"name": (None, "Novel")})).status_code == 200
    assert (await alice.delete(paths[0])).status_code == 204
    assert (await create(alice)).status_code == 201


async def test_file_above_the_quota_is_refused_and_leaves_nothing(
    alice: AsyncClient, list_object_states: ListObjectStates
) -> None:
    assert (await create(alice, 600)).status_code == 201
    problem = check_problem(await create(alice, 401), 413, "storage-quota-exceeded")
    assert "600 bytes of at most 1000 bytes" in problem["detail"]
    assert await list_object_states() == ["ready object"]
    assert (await create(alice, 400)).status_code == 201


async def test_announced_file_above_the_quota_is_refused_before_it_is_received(
    alice: AsyncClient, list_object_states: ListObjectStates
) -> None:
    async def fail() -> None:
        pytest.fail("the service reads more of the body")

    form = stream_document_form(SMALL_CHUNK, fail)
    headers = {**FORM_HEADERS, "content-length": f"{10 * MIB}"}
    response = await alice.post("/documents", content=form, headers=headers)
    check_problem(response, 413, "storage-quota-exceeded")
    assert await list_object_states() == []


async def test_replaced_file_counts_only_the_difference(alice: AsyncClient) -> None:
    path = f"/documents/{(await make_document(alice, content=bytes(900)))['id']}"
    assert (await replace(alice, path, 1000)).status_code == 200
    check_problem(await replace(alice, path, 1001), 413, "storage-quota-exceeded")
    assert (await replace(alice, path, 10)).status_code == 200
    assert (await create(alice, 990)).status_code == 201


async def test_announced_size_of_direct_upload_counts_until_it_expires(
    alice: AsyncClient, make_objects_stale: MakeObjectsStale, sweep: Sweep
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    assert (await announce(alice, path, 700)).status_code == 201
    check_problem(await announce(alice, path, 301), 413, "storage-quota-exceeded")
    check_problem(await create(alice, 301), 413, "storage-quota-exceeded")
    await make_objects_stale()
    await sweep()
    assert (await announce(alice, path, 1000)).status_code == 201


async def test_pending_uploads_of_a_user_are_limited_even_after_their_document_is_deleted(
    alice: AsyncClient,
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    for _ in range(2):
        assert (await announce(alice, path, 1)).status_code == 201
    check_problem(await announce(alice, path, 1), 409, "too-many-uploads")
    assert (await alice.delete(path)).status_code == 204
    other_path = f"/documents/{(await make_document(alice))['id']}"
    check_problem(await announce(alice, other_path, 1), 409, "too-many-uploads")


async def test_completed_upload_of_the_last_bytes_replaces_a_file(alice: AsyncClient) -> None:
    path = f"/documents/{(await make_document(alice, content=bytes(500)))['id']}"
    upload_path = await make_direct_upload(alice, path, bytes(500))
    check_problem(await announce(alice, path, 1), 413, "storage-quota-exceeded")
    assert (await alice.post(f"{upload_path}/complete")).status_code == 200
    assert (await announce(alice, path, 500)).status_code == 201


async def test_refused_upload_with_another_hash_no_longer_counts(alice: AsyncClient) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    upload_path = await make_direct_upload(alice, path, bytes(1000), sha256="0" * 64)
    assert (await alice.post(f"{upload_path}/complete")).status_code == 409
    assert (await create(alice, 1000)).status_code == 201


async def test_concurrent_requests_do_not_exceed_the_quotas(alice: AsyncClient) -> None:
    document = await make_document(alice)
    path = f"/documents/{document['id']}"
    created = await asyncio.gather(*(create(alice, 300) for _ in range(8)))
    assert sorted(response.status_code for response in created) == [201] * 2 + [409] * 6
    announced = await asyncio.gather(*(announce(alice, path, 150) for _ in range(8)))
    statuses = [response.status_code for response in announced]
    assert statuses.count(201) == 2
    assert set(statuses) <= {201, 409, 413}


async def test_concurrent_replacements_do_not_exceed_the_quota_of_bytes(alice: AsyncClient) -> None:
    paths = [f"/documents/{(await make_document(alice, content=b'x'))['id']}" for _ in range(3)]
    responses = await asyncio.gather(*(replace(alice, path, 400) for path in paths * 2))
    assert {response.status_code for response in responses} == {200, 413}


async def test_quota_is_enforced_in_the_transaction_of_an_idempotency_key(
    alice: AsyncClient,
) -> None:
    for number in range(4):
        response = await alice.post(
            "/documents",
            files={"name": (None, "x"), "file": (None, "")},
            headers={"Idempotency-Key": f"{number}"},
        )
        assert response.status_code == (201 if number < 3 else 409)


async def test_documents_of_others_and_without_owner_do_not_count(
    client: AsyncClient, alice: AsyncClient, client_with_role: ClientFactory
) -> None:
    admin = await client_with_role("admin")
    for owner in (alice, admin, client):
        for _ in range(3):
            await make_document(owner, content=bytes(300))
    check_problem(await create(admin), 409, "too-many-documents")
    assert (await create(client, 2000)).status_code == 201


async def test_change_by_an_admin_counts_for_the_owner(
    alice: AsyncClient, client_with_role: ClientFactory
) -> None:
    admin = await client_with_role("admin")
    path = f"/documents/{(await make_document(alice, content=bytes(600)))['id']}"
    check_problem(await replace(admin, path, 1001), 413, "storage-quota-exceeded")
    check_problem(await announce(admin, path, 401), 413, "storage-quota-exceeded")
    assert (await create(admin, 1000)).status_code == 201


async def test_owner_above_a_lowered_quota_can_shrink_and_rename_documents(
    alice: AsyncClient, settings: Settings
) -> None:
    paths = [f"/documents/{(await make_document(alice, content=bytes(300)))['id']}" for _ in "123"]
    settings.max_documents_per_user = 1
    settings.max_bytes_per_user = ByteSize(100)
    response = await alice.patch(paths[0], files={"name": (None, "Novel")})
    assert response.status_code == 200
    check_problem(await replace(alice, paths[0], 301), 413, "storage-quota-exceeded")
    assert (await replace(alice, paths[0], 299)).status_code == 200


async def test_quota_of_zero_does_not_limit(alice: AsyncClient, settings: Settings) -> None:
    settings.max_documents_per_user = 0
    settings.max_pending_uploads_per_user = 0
    settings.max_bytes_per_user = ByteSize(0)
    path = f"/documents/{(await make_document(alice))['id']}"
    for _ in range(5):
        assert (await create(alice, 1000)).status_code == 201
        assert (await announce(alice, path, 1000)).status_code == 201


async def test_usage_is_deleted_with_the_user(
    alice: AsyncClient, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path = f"/documents/{(await make_document(alice, content=bytes(300)))['id']}"
    assert (await announce(alice, path, 100)).status_code == 201
    user_id = (await alice.get("/users/me")).json()["id"]
    assert (await client.delete(f"/users/{user_id}")).status_code == 204
    assert await outside_connection.fetchval("SELECT count(*) FROM document_usage") == 0
    await outside_connection.execute("UPDATE stored_objects SET state = 'deleting'")
    assert await outside_connection.fetchval("SELECT count(*) FROM document_usage") == 0
    # The pending upload of a deleted user stays until the sweeper removes it.
    await outside_connection.execute("DELETE FROM stored_objects")


async def test_upload_that_the_store_fails_to_start_does_not_count(
    alice: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.ACCESS_DENIED, "POST .*[?]uploads")
    for _ in range(3):
        check_problem(await announce(alice, path, 1), 503, "unavailable")
    proxy.set_action(ProxyAction.PASS)
    assert (await announce(alice, path, 1)).status_code == 201
