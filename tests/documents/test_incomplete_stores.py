"""The sweeper with stores that lack an operation, deny it, or respond in an unusual way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage, StoreFailed
from app.core.storage import _s3_clients as s3_clients
from app.documents.sweeper import Sweeper, SweepResult
from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.documents.conftest import ListObjectStates, MakeObjectsStale, Sweep, UseStore
from tests.support import stored_objects
from tests.support.commands import exit_code_and_output
from tests.support.document_forms import LARGE_CHUNK, stream_document_form
from tests.support.factories import make_document
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.store_proxy import ErrorResponse, ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

LIST_UPLOADS = "GET .*[?&]uploads"
ABORT = "DELETE .*[?]uploadId"
NO_UPLOADS = (
    "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
)
ONE_UPLOAD = """
<ListMultipartUploadsResult><Upload><Key>{key}</Key><UploadId>1</UploadId></Upload>
</ListMultipartUploadsResult>
"""
ONE_KEY = """
<ListBucketResult><Contents><Key>{key}</Key><Size>1</Size></Contents></ListBucketResult>
"""
# Page after page, these lists claim to have another one.
ENDLESS_UPLOADS = ONE_UPLOAD.replace("<Upload>", "<IsTruncated>true</IsTruncated><Upload>")
ENDLESS_KEYS = ONE_KEY.replace("<Contents>", "<IsTruncated>true</IsTruncated>{token}<Contents>")
NEXT_TOKEN = "<NextContinuationToken>1</NextContinuationToken>"
FAILED_LIST = ["abort the multipart uploads that the store lists"]
FAILED_REMOVAL = ["remove unused files"]
REFUSE_UPDATES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
CREATE TRIGGER refuse BEFORE UPDATE ON stored_objects EXECUTE FUNCTION refuse();
"""

CrashUpload = Callable[[], Awaitable[None]]


@pytest.fixture
async def storage_behind_proxy(
    settings: Settings, proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Storage]:
    """The object store of the test behind `proxy`, with a short timeout."""
    monkeypatch.setattr(s3_clients, "READ_TIMEOUT_SECONDS", 0.5)
    storage = Storage(settings.model_copy(update={"s3_endpoint_url": proxy.origin}))
    yield storage
    storage.close()


@pytest.fixture
def sweep_behind_proxy(
    database: Database, storage_behind_proxy: Storage, settings: Settings
) -> Sweep:
    """Run the sweeper once, with the object store behind `proxy`."""
    return Sweeper(database.writes, storage_behind_proxy, settings).sweep


@pytest.fixture
async def deleted_file(client: AsyncClient, outside_connection: asyncpg.Connection) -> str:
    """Leave the large file of a deleted document to the sweeper. Return its key."""
    await make_document(client, content=bytes(PART_SIZE + 1))
    await outside_connection.execute("DELETE FROM documents")
    key: str = await outside_connection.fetchval("SELECT key FROM stored_objects")
    return key


@pytest.fixture
def crash_upload(client: AsyncClient, proxy: StoreProxy, use_store: UseStore) -> CrashUpload:
    """Cancel an upload while its second part is being sent, which leaves everything behind."""

    async def crash() -> None:
        use_store(proxy.origin)
        proxy.set_action(ProxyAction.HOLD, "partNumber=2")
        request_task = asyncio.create_task(
            client.post(
                "/documents", content=stream_document_form(LARGE_CHUNK), headers=FORM_HEADERS
            )
        )
        await proxy.action_reached.wait()
        request_task.cancel()
        proxy.release.set()
        await asyncio.wait([request_task])

    return crash


@pytest.mark.parametrize("response", ["not implemented", "empty list"])
async def test_sweeper_removes_parts_of_expired_upload_when_store_lists_no_uploads(
    response: str,
    crash_upload: CrashUpload,
    proxy: StoreProxy,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep_behind_proxy: Sweep,
) -> None:
    await crash_upload()
    assert await list_object_states() == ["pending part"]
    if response == "empty list":
        proxy.set_action(ErrorResponse(200, "", NO_UPLOADS), LIST_UPLOADS)
    else:
        proxy.set_action(ProxyAction.NOT_IMPLEMENTED, LIST_UPLOADS)
    await sweep_behind_proxy()
    assert await list_object_states() == ["pending part"]
    await make_objects_stale()
    assert await sweep_behind_proxy() == SweepResult(expired_uploads=1, removed_objects=1)
    assert await list_object_states() == []


async def test_upload_id_is_recorded_before_the_first_part_is_sent(
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    storage: Storage,
    settings: Settings,
    outside_connection: asyncpg.Connection,
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD, "partNumber=1")
    request_task = asyncio.create_task(
        client.post("/documents", content=stream_document_form(LARGE_CHUNK), headers=FORM_HEADERS)
    )
    await proxy.action_reached.wait()
    [upload] = await stored_objects.list_multipart_uploads(storage, settings.s3_prefix)
    [row] = await outside_connection.fetch("SELECT key, upload_id FROM stored_objects")
    proxy.release.set()
    assert (await request_task).status_code == 201
    assert tuple(row) == (upload.key, upload.id)


async def test_file_that_the_service_stored_is_not_a_direct_upload(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    document = await make_document(client, content=bytes(PART_SIZE + 1))
    file_id = await outside_connection.fetchval("SELECT file_id FROM documents")
    path = f"/documents/{document['id']}/uploads/{file_id}"
    check_problem(await client.get(path), 404, "not-found")
    check_problem(await client.post(f"{path}/complete"), 404, "not-found")


@pytest.mark.usefixtures("deleted_file")
async def test_missing_list_is_logged_once_and_is_not_an_error(
    proxy: StoreProxy, sweep_behind_proxy: Sweep, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.set_action(ProxyAction.NOT_IMPLEMENTED, LIST_UPLOADS)
    assert await sweep_behind_proxy() == SweepResult(removed_objects=1)
    assert await sweep_behind_proxy() == SweepResult()
    assert len(proxy.request_lines) > 2
    [warning] = [record.getMessage() for record in caplog.records if record.levelno > 20]
    assert "add a lifecycle rule to the bucket" in warning


@pytest.mark.usefixtures("deleted_file")
@pytest.mark.parametrize("action", [ProxyAction.ACCESS_DENIED, ProxyAction.HOLD, ProxyAction.RESET])
async def test_sweeper_removes_deleted_file_when_list_fails(
    action: ProxyAction,
    proxy: StoreProxy,
    list_object_states: ListObjectStates,
    sweep_behind_proxy: Sweep,
) -> None:
    proxy.set_action(action, LIST_UPLOADS)
    result = await sweep_behind_proxy()
    assert result == SweepResult(removed_objects=1, failed_steps=FAILED_LIST)
    assert await list_object_states() == []


@pytest.mark.usefixtures("deleted_file")
async def test_sweeper_removes_deleted_file_when_uploads_cannot_be_marked(
    outside_connection: asyncpg.Connection, sweep: Sweep, list_object_states: ListObjectStates
) -> None:
    await outside_connection.execute(REFUSE_UPDATES)
    result = await sweep()
    assert result == SweepResult(removed_objects=1, failed_steps=["mark expired uploads"])
    assert await list_object_states() == []


async def test_sweeper_removes_object_and_keeps_row_until_upload_can_be_aborted(
    crash_upload: CrashUpload,
    proxy: StoreProxy,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep_behind_proxy: Sweep,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await crash_upload()
    await make_objects_stale()
    proxy.set_action(ProxyAction.ACCESS_DENIED, f"{LIST_UPLOADS}|{ABORT}")
    result = await sweep_behind_proxy()
    assert result == SweepResult(expired_uploads=1, failed_steps=FAILED_LIST + FAILED_REMOVAL)
    assert "permission s3:AbortMultipartUpload" in caplog.text
    assert any(line.startswith("DELETE") and "?" not in line for line in proxy.request_lines)
    assert await list_object_states() == ["deleting part"]
    proxy.set_action(ProxyAction.PASS)
    await sweep_behind_proxy()
    assert await list_object_states() == []


async def test_sweeper_removes_other_files_when_store_refuses_to_delete_one(
    client: AsyncClient,
    deleted_file: str,
    outside_connection: asyncpg.Connection,
    proxy: StoreProxy,
    list_object_states: ListObjectStates,
    sweep_behind_proxy: Sweep,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await make_document(client, content=b"another file")
    await outside_connection.execute("DELETE FROM documents")
    proxy.set_action(ProxyAction.ACCESS_DENIED, f"DELETE .*{deleted_file}$")
    result = await sweep_behind_proxy()
    assert result == SweepResult(removed_objects=1, failed_steps=FAILED_REMOVAL)
    assert f"object {deleted_file} could not be removed" in caplog.text
    assert await list_object_states() == ["deleting object"]


async def test_sweeper_aborts_other_uploads_when_store_refuses_to_abort_one(
    database: Database, settings: Settings, storage_behind_proxy: Storage, proxy: StoreProxy
) -> None:
    for name in ("a", "b"):
        await storage_behind_proxy.start_multipart_upload(f"{settings.s3_prefix}{name}")
    no_grace_period = settings.model_copy(update={"upload_grace_period": 0})
    sweeper = Sweeper(database.writes, storage_behind_proxy, no_grace_period)
    proxy.set_action(ProxyAction.ACCESS_DENIED, "DELETE .*/a[?]")
    result = await sweeper.sweep()
    assert result == SweepResult(aborted_multipart_uploads=1, failed_steps=FAILED_LIST)
    proxy.set_action(ProxyAction.PASS)
    assert await sweeper.sweep() == SweepResult(aborted_multipart_uploads=1)


async def test_row_is_deleted_when_store_reports_that_object_does_not_exist(
    deleted_file: str,
    proxy: StoreProxy,
    outside_connection: asyncpg.Connection,
    sweep_behind_proxy: Sweep,
) -> None:
    proxy.set_action(ErrorResponse(404, "NoSuchKey"), f"DELETE .*{deleted_file}$")
    assert await sweep_behind_proxy() == SweepResult(removed_objects=1)
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_objects") == 0


@pytest.mark.usefixtures("deleted_file")
async def test_rows_are_kept_when_bucket_does_not_exist(
    proxy: StoreProxy, list_object_states: ListObjectStates, sweep_behind_proxy: Sweep
) -> None:
    proxy.set_action(ErrorResponse(404, "NoSuchBucket"), "")
    assert await sweep_behind_proxy() == SweepResult(failed_steps=FAILED_LIST + FAILED_REMOVAL)
    assert await list_object_states() == ["deleting object"]


@pytest.mark.usefixtures("deleted_file")
async def test_rows_are_kept_when_only_a_proxy_responds_with_404(
    proxy: StoreProxy, list_object_states: ListObjectStates, sweep_behind_proxy: Sweep
) -> None:
    proxy.set_action(ErrorResponse(404, "", "no route to the store", "text/plain"), "")
    assert await sweep_behind_proxy() == SweepResult(failed_steps=FAILED_LIST + FAILED_REMOVAL)
    assert await list_object_states() == ["deleting object"]


async def test_failed_step_fails_the_command_and_is_recorded(
    database_url: str, settings: Settings, proxy: StoreProxy, outside_connection: asyncpg.Connection
) -> None:
    proxy.set_action(ProxyAction.ACCESS_DENIED, LIST_UPLOADS)
    exit_code, output = await exit_code_and_output(
        "jobs",
        "run",
        "sweep-storage",
        DATABASE_URL=database_url,
        S3_PREFIX=settings.s3_prefix,
        S3_ENDPOINT_URL=proxy.origin,
    )
    outcome = f"failed: {SweepResult(failed_steps=FAILED_LIST)}"
    assert exit_code == 1
    assert output.endswith(f"sweep-storage {outcome}\n")
    assert "Traceback" not in output
    assert await outside_connection.fetchval("SELECT outcome FROM job_runs") == outcome


@pytest.mark.parametrize("body", ["<html>", ONE_UPLOAD], ids=["no list", "no start time"])
async def test_sweeper_removes_files_when_list_of_uploads_cannot_be_understood(
    body: str, deleted_file: str, proxy: StoreProxy, sweep_behind_proxy: Sweep
) -> None:
    proxy.set_action(
        ErrorResponse(200, "", body.format(key=f"{deleted_file}-without-row")), LIST_UPLOADS
    )
    assert (await sweep_behind_proxy()).removed_objects == 1


async def test_sweeper_removes_files_when_list_of_uploads_repeats_a_page(
    deleted_file: str, proxy: StoreProxy, sweep_behind_proxy: Sweep
) -> None:
    uploads = ENDLESS_UPLOADS.format(key=f"{deleted_file}-without-row")
    proxy.set_action(ErrorResponse(200, "", uploads), LIST_UPLOADS)
    result = await sweep_behind_proxy()
    assert result == SweepResult(removed_objects=1, failed_steps=FAILED_LIST)


@pytest.mark.parametrize("token", ["", NEXT_TOKEN], ids=["no token", "same token"])
async def test_list_of_keys_fails_when_store_repeats_a_page(
    token: str, storage_behind_proxy: Storage, proxy: StoreProxy
) -> None:
    keys = ENDLESS_KEYS.format(key="a/1", token=token)
    proxy.set_action(ErrorResponse(200, "", keys), "list-type=2")
    with pytest.raises(StoreFailed):
        await stored_objects.list_keys(storage_behind_proxy, "a/")
    assert len(proxy.request_lines) == 2


async def test_lists_leave_out_keys_of_others_when_store_ignores_the_prefix(
    storage_behind_proxy: Storage, proxy: StoreProxy
) -> None:
    uploads = ONE_UPLOAD.format(key="b/1")
    proxy.set_action(ErrorResponse(200, "", uploads), LIST_UPLOADS)
    assert await stored_objects.list_multipart_uploads(storage_behind_proxy, "a/") == []
    proxy.set_action(ErrorResponse(200, "", ONE_KEY.format(key="b/1")), "list-type=2")
    assert await stored_objects.list_keys(storage_behind_proxy, "a/") == []
