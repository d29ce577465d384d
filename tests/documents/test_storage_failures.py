"""Failures of the object store, and clients that disconnect during an upload."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import _s3_clients as s3_clients
from app.core.storage._s3_bodies import MAX_ATTEMPTS
from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.documents.conftest import ListObjectStates, MakeObjectsStale, Sweep, UseStore
from tests.support.connections import tcp_connection
from tests.support.document_forms import LARGE_CHUNK, SMALL_CHUNK, stream_document_form
from tests.support.factories import make_book, make_document
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.raw_requests import upload_head
from tests.support.resources import replace_resources
from tests.support.settings import make_settings
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

# No server listens on this port.
UNREACHABLE_ENDPOINT = "http://127.0.0.1:1"
# INTERNAL_ERROR is a response with the status 200, which only the completion of a multipart upload
# may have.
FAILURES = {
    action.name.lower(): action
    for action in (
        ProxyAction.HOLD,
        ProxyAction.RESET,
        ProxyAction.SLOW_DOWN,
        ProxyAction.ACCESS_DENIED,
    )
}


@pytest.fixture(autouse=True)
def short_store_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_clients, "CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(s3_clients, "READ_TIMEOUT_SECONDS", 0.5)


@pytest.fixture(params=["down", *FAILURES])
def failing_store(
    request: pytest.FixtureRequest, proxy: StoreProxy, use_store: UseStore
) -> StoreProxy:
    """A store that fails in one of several ways. The proxy records the requests to it."""
    proxy.set_action(FAILURES.get(request.param, ProxyAction.PASS))
    use_store(UNREACHABLE_ENDPOINT if request.param == "down" else proxy.origin)
    return proxy


async def test_upload_returns_503_and_creates_no_document_while_store_fails(
    client: AsyncClient,
    failing_store: StoreProxy,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    response = await client.post(
        "/documents", content=stream_document_form(SMALL_CHUNK), headers=FORM_HEADERS
    )
    check_problem(response, 503, "unavailable")
    # The upload is retried, but the service does not also ask the failing store to delete it.
    assert len(failing_store.request_lines) <= MAX_ATTEMPTS
    assert (await client.get("/documents")).json()["total"] == 0
    await make_objects_stale()
    await sweep()
    assert await list_object_states() == []


async def test_file_that_is_stored_after_its_upload_has_failed_is_removed(
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    """A gateway may report a timeout, and the store executes the request later nevertheless."""
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD, "PUT")
    response = await client.post(
        "/documents", content=stream_document_form(SMALL_CHUNK), headers=FORM_HEADERS
    )
    check_problem(response, 503, "unavailable")
    await sweep()
    proxy.release.set()

    async def store_has_object() -> bool:
        return any(states.endswith("object") for states in await list_object_states())

    await poll_until(store_has_object)
    await make_objects_stale()
    await sweep()
    assert await list_object_states() == []


async def test_other_requests_succeed_while_store_is_unreachable(
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(client, content=b'kept'))['id']}"
    use_store(UNREACHABLE_ENDPOINT)
    await make_book(client)
    await make_document(client, "without a file")
    assert (await client.get("/books")).json()["total"] == 1
    assert (await client.get(path)).json()["file_url"]
    assert (await client.get("/documents")).json()["items"][0]["file_url"]
    assert (await client.get(f"{path}/content")).status_code == 307
    assert (await client.delete(path)).status_code == 204
    assert await list_object_states() == ["deleting object"]
    await sweep()
    assert await list_object_states() == []


@pytest.mark.parametrize(
    "action", [ProxyAction.INTERNAL_ERROR, ProxyAction.SLOW_DOWN, ProxyAction.HOLD]
)
async def test_upload_returns_503_when_its_completion_fails(
    action: ProxyAction,
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    use_store(proxy.origin)
    proxy.set_action(action, "POST .*[?]uploadId")
    response = await client.post(
        "/documents", content=stream_document_form(LARGE_CHUNK), headers=FORM_HEADERS
    )
    check_problem(response, 503, "unavailable")
    assert await list_object_states() == ["deleting part"]
    await sweep()
    assert await list_object_states() == []


async def test_upload_succeeds_when_the_response_to_its_completion_is_lost(
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    list_object_states: ListObjectStates,
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD_RESPONSE, "POST .*[?]uploadId")
    request_task = asyncio.create_task(
        client.post("/documents", content=stream_document_form(LARGE_CHUNK), headers=FORM_HEADERS)
    )
    await proxy.action_reached.wait()
    proxy.set_action(ProxyAction.PASS)
    assert (await request_task).status_code == 201
    # SeaweedFS completes the upload again. rclone does not know the upload anymore, so the service
    # asks for the size of the object.
    methods = [request_line.split()[0] for request_line in proxy.request_lines]
    assert methods in (["POST"], ["POST", "HEAD"])
    assert await list_object_states() == ["ready object"]


async def test_requests_for_files_return_503_without_store_credentials(
    client: AsyncClient, use_store: UseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/documents/{(await make_document(client, content=b'kept'))['id']}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    use_store(UNREACHABLE_ENDPOINT)
    check_problem(await client.get(path), 503, "unavailable")
    upload = await client.post(
        "/documents", content=stream_document_form(SMALL_CHUNK), headers=FORM_HEADERS
    )
    check_problem(upload, 503, "unavailable")
    await make_document(client, "without a file")


@pytest.fixture
async def single_connection_database(app: FastAPI, database_url: str) -> AsyncIterator[Database]:
    """Make the service use a pool of one connection, for which a request waits a second at most."""
    database = Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=1))
    replace_resources(app, database=database)
    yield database
    await database.engine.dispose()


@pytest.mark.usefixtures("single_connection_database")
async def test_upload_holds_no_database_connection_while_bytes_are_received(
    client: AsyncClient,
) -> None:
    async def send_another_request() -> None:
        assert (await client.get("/books")).status_code == 200

    form = stream_document_form(SMALL_CHUNK, send_another_request)
    response = await client.post("/documents", content=form, headers=FORM_HEADERS)
    assert response.status_code == 201, response.text


@pytest.mark.usefixtures("single_connection_database")
async def test_upload_holds_no_database_connection_while_the_store_is_called(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD, "PUT")
    form = stream_document_form(SMALL_CHUNK)
    request_task = asyncio.create_task(
        client.post("/documents", content=form, headers=FORM_HEADERS)
    )
    await proxy.action_reached.wait()
    assert (await client.get("/books")).status_code == 200
    proxy.release.set()
    assert (await request_task).status_code == 201


@pytest.mark.parametrize(
    ("size", "state"), [(PART_SIZE // 2, "pending"), (2 * PART_SIZE, "pending part")]
)
async def test_client_that_disconnects_leaves_one_log_line_and_no_objects(
    size: int,
    state: str,
    database_url: str,
    settings: Settings,
    list_object_states: ListObjectStates,
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, S3_PREFIX=settings.s3_prefix) as (
            process,
            origin,
        ),
        tcp_connection(origin) as (_, writer),
    ):
        assert process.stdout
        writer.write(upload_head(40_000_000))
        writer.writelines([await anext(stream_document_form(size)), b"and more to come"])
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await list_object_states() != [state]:
                pass
            writer.close()
            output = await process.stdout.readuntil(b" path=/documents status=499 ")
            process.terminate()
            output += await process.stdout.read()
            await process.wait()
    # The announcement of the server is indented by two spaces, and a traceback by more.
    is_announcement = re.compile(r"  \S").match
    log_lines = [text for text in output.decode().splitlines() if not is_announcement(text)]
    assert len(log_lines) == 1, log_lines
    assert await list_object_states() == []
