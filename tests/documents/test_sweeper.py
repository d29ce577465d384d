"""The sweeper: expired uploads, concurrent sweepers, and stores that lack operations."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.documents import lifecycle
from app.documents.sweeper import Sweeper, SweepResult
from app.settings import Settings
from tests.documents.conftest import ListObjectStates, MakeObjectsStale, Sweep, UseStore
from tests.support.document_forms import LARGE_CHUNK, SMALL_CHUNK, stream_document_form
from tests.support.factories import make_direct_upload, make_document
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

EVERY_CHUNK_SIZE = pytest.mark.parametrize(
    "size", [SMALL_CHUNK, LARGE_CHUNK], ids=["small", "large"]
)
# The chunk size of an uploaded file, the action of the proxy, and a pattern of the store request to
# which the proxy applies it. HOLD stops the request before it reaches the store, HOLD_RESPONSE
# stops the response of the store. The upload expires while the proxy holds one of them.
HELD_REQUESTS = {
    "the only PUT, not yet processed": (SMALL_CHUNK, ProxyAction.HOLD, "PUT"),
    "the only PUT, processed": (SMALL_CHUNK, ProxyAction.HOLD_RESPONSE, "PUT"),
    "the start of a multipart upload, not yet processed": (
        LARGE_CHUNK,
        ProxyAction.HOLD,
        "POST .*[?]uploads",
    ),
    "the first part, not yet processed": (LARGE_CHUNK, ProxyAction.HOLD, "partNumber=1"),
    "the completion, not yet processed": (LARGE_CHUNK, ProxyAction.HOLD, "POST .*[?]uploadId"),
    "the completion, processed": (LARGE_CHUNK, ProxyAction.HOLD_RESPONSE, "POST .*[?]uploadId"),
}


@EVERY_CHUNK_SIZE
async def test_upload_succeeds_when_sweeper_runs_while_it_makes_progress(
    size: int,
    client: AsyncClient,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Make the upload record progress with every chunk.
    monkeypatch.setattr(lifecycle, "PROGRESS_RECORDS_PER_GRACE_PERIOD", 1e9)
    response = await client.post(
        "/documents",
        content=stream_document_form(size, make_objects_stale, sweep),
        headers=FORM_HEADERS,
    )
    assert response.status_code == 201, response.text
    assert await list_object_states() == ["ready object"]


@EVERY_CHUNK_SIZE
async def test_upload_without_progress_returns_409_and_leaves_no_object(
    size: int,
    client: AsyncClient,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    response = await client.post(
        "/documents",
        content=stream_document_form(size, make_objects_stale, sweep),
        headers=FORM_HEADERS,
    )
    assert "made no progress" in check_problem(response, 409, "conflict")["detail"]
    assert await list_object_states() == []


@pytest.mark.parametrize("held_request", HELD_REQUESTS)
async def test_upload_that_expires_during_store_request_returns_409_and_leaves_no_object(
    held_request: str,
    proxy: StoreProxy,
    use_store: UseStore,
    client: AsyncClient,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    size, action, request_pattern = HELD_REQUESTS[held_request]
    use_store(proxy.origin)
    proxy.set_action(action, request_pattern)
    request_task = asyncio.create_task(
        client.post("/documents", content=stream_document_form(size), headers=FORM_HEADERS)
    )
    await proxy.action_reached.wait()
    await make_objects_stale()
    await sweep()
    proxy.release.set()
    check_problem(await request_task, 409, "conflict")
    assert await list_object_states() == []


async def test_sweeper_removes_direct_upload_only_after_it_has_expired(
    client: AsyncClient,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    upload = await make_direct_upload(client, path, b"never completed")
    await sweep()
    assert await list_object_states() == ["pending part"]
    await make_objects_stale()
    assert await sweep() == SweepResult(
        expired_uploads=1, aborted_multipart_uploads=1, removed_objects=1
    )
    assert await list_object_states() == []
    check_problem(await client.post(f"{upload}/complete"), 404, "not-found")


@pytest.mark.parametrize(
    ("grace_period_seconds", "expected_states"),
    [(3600, ["part"]), (0, [])],
    ids=["within grace period", "after grace period"],
)
async def test_sweeper_aborts_multipart_upload_without_row_only_after_grace_period(
    grace_period_seconds: int,
    expected_states: list[str],
    database: Database,
    storage: Storage,
    settings: Settings,
    list_object_states: ListObjectStates,
) -> None:
    await storage.start_multipart_upload(f"{settings.s3_prefix}without-row")
    changed_settings = settings.model_copy(update={"upload_grace_period": grace_period_seconds})
    await Sweeper(database.writes, storage, changed_settings).sweep()
    assert await list_object_states() == expected_states


async def test_concurrent_sweepers_remove_each_expired_upload_once(
    client: AsyncClient,
    outside_connection: asyncpg.Connection,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    for name in ("kept", "deleted") * 5:
        document = await make_document(client, name, b"content of " + name.encode())
        await make_direct_upload(client, f"/documents/{document['id']}", b"never completed")
    await outside_connection.execute("DELETE FROM documents WHERE name = 'deleted'")
    await make_objects_stale()
    results = await asyncio.gather(*(sweep() for _ in range(4)))
    assert sum(result.expired_uploads for result in results) == 10
    assert await sweep() == SweepResult()
    assert await list_object_states() == ["ready object"] * 5
