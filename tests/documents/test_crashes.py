"""Servers that are killed during a change of a document.

After one sweep, every document has the exact bytes of its file, and nothing else is in the store,
even if the store cannot list multipart uploads.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg
import httpx
import pytest
from httpx import AsyncClient

from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.documents.conftest import ListObjectStates, MakeObjectsStale
from tests.support.commands import exit_code_and_output
from tests.support.factories import make_direct_upload, make_document
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = [pytest.mark.slow, pytest.mark.private_database]

OLD_FILE = b"%PDF-1.7 old"
SMALL_FILE = b"%PDF-1.7 new"
LARGE_FILE = bytes(range(256)) * (2 * PART_SIZE // 256) + b"the third part"

SendRequest = Callable[[AsyncClient, str], Awaitable[httpx.Response]]


def replace_file(content: bytes) -> SendRequest:
    return lambda client, path: client.patch(path, files={"file": ("new.pdf", content)})


def delete_document(client: AsyncClient, path: str) -> Awaitable[httpx.Response]:
    return client.delete(path)


class Crash(NamedTuple):
    """A request of a client, during which the server is killed."""

    send_request: SendRequest
    # The request to the store during which the server is killed, and whether the store has
    # processed it (HOLD_RESPONSE) or not (HOLD).
    store_request: str
    action: ProxyAction
    # The states of the stored objects after the crash.
    states: list[str]
    # The document's file in the end, or None if the document is deleted.
    final_content: bytes | None


CRASHES = {
    "before the first part": Crash(
        replace_file(LARGE_FILE),
        "POST .*[?]uploads",
        ProxyAction.HOLD,
        ["pending", "ready object"],
        OLD_FILE,
    ),
    "between two parts": Crash(
        replace_file(LARGE_FILE),
        "partNumber=2",
        ProxyAction.HOLD,
        ["pending part", "ready object"],
        OLD_FILE,
    ),
    "between completion and commit": Crash(
        replace_file(LARGE_FILE),
        "POST .*[?]uploadId",
        ProxyAction.HOLD_RESPONSE,
        ["pending object", "ready object"],
        OLD_FILE,
    ),
    "before the only PUT": Crash(
        replace_file(SMALL_FILE), "PUT", ProxyAction.HOLD, ["pending", "ready object"], OLD_FILE
    ),
    "between the only PUT and commit": Crash(
        replace_file(SMALL_FILE),
        "PUT",
        ProxyAction.HOLD_RESPONSE,
        ["pending object", "ready object"],
        OLD_FILE,
    ),
    "between the commit of a new file and the removal of the old one": Crash(
        replace_file(SMALL_FILE),
        "DELETE",
        ProxyAction.HOLD,
        ["deleting object", "ready object"],
        SMALL_FILE,
    ),
    "between the commit of a deletion and the removal of the file": Crash(
        delete_document, "DELETE", ProxyAction.HOLD, ["deleting object"], None
    ),
    "between the removal of a file and of its row": Crash(
        delete_document, "DELETE", ProxyAction.HOLD_RESPONSE, ["deleting"], None
    ),
}


@pytest.fixture
def environment(database_url: str, settings: Settings) -> dict[str, str]:
    """The environment variables of the server that is killed, and of the sweeper after it."""
    return {
        "DATABASE_URL": database_url,
        "S3_PREFIX": settings.s3_prefix,
        "UPLOAD_GRACE_PERIOD": "1",
    }


async def kill_server_during(
    environment: dict[str, str], proxy: StoreProxy, crash: Crash, path: str
) -> None:
    """Send the request of a crash to a new server, and kill it during its request to the store."""
    async with (
        running_server(**environment, S3_ENDPOINT_URL=proxy.origin) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        proxy.set_action(crash.action, crash.store_request)
        request_task = asyncio.ensure_future(crash.send_request(client, path))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await proxy.action_reached.wait()
        process.kill()
        await process.wait()
        await asyncio.wait([request_task])
        # Mark the exception as retrieved. There is none if the server has already responded.
        request_task.exception()


async def download_file(client: AsyncClient, path: str) -> bytes | None:
    """Return the content of a document's file, or None if the document does not exist."""
    response = await client.get(path)
    if response.status_code == 404:
        return None
    async with AsyncClient() as store_client:
        return (await store_client.get(response.json()["file_url"])).raise_for_status().content


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
async def test_sweep_after_crash_leaves_exactly_the_file_of_the_document(
    crash: Crash,
    environment: dict[str, str],
    proxy: StoreProxy,
    client: AsyncClient,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
) -> None:
    path = f"/documents/{(await make_document(client, content=OLD_FILE))['id']}"
    await kill_server_during(environment, proxy, crash, path)
    assert await list_object_states() == crash.states
    await make_objects_stale()
    proxy.set_action(ProxyAction.NOT_IMPLEMENTED, "GET .*[?&]uploads")
    exit_code, output = await exit_code_and_output(
        "jobs", "run", "sweep-storage", S3_ENDPOINT_URL=proxy.origin, **environment
    )
    assert exit_code == 0, output
    final_states: list[str] = []
    if crash.final_content is not None:
        final_states = ["ready object"]
    assert await list_object_states() == final_states
    assert await download_file(client, path) == crash.final_content


async def test_direct_upload_can_be_completed_again_after_crash_before_commit(
    environment: dict[str, str],
    proxy: StoreProxy,
    client: AsyncClient,
    list_object_states: ListObjectStates,
    outside_connection: asyncpg.Connection,
) -> None:
    document_path = f"/documents/{(await make_document(client))['id']}"
    upload_path = await make_direct_upload(client, document_path, SMALL_FILE)
    crash = Crash(
        lambda http_client, path: http_client.post(f"{path}/complete"),
        "POST .*[?]uploadId",
        ProxyAction.HOLD_RESPONSE,
        ["pending object"],
        SMALL_FILE,
    )
    await kill_server_during(environment, proxy, crash, upload_path)
    assert await list_object_states() == crash.states
    # The crashed request keeps others from completing the upload for a minute.
    assert (await client.post(f"{upload_path}/complete")).status_code == 409
    await outside_connection.execute("UPDATE stored_objects SET completing_until = now()")
    for _ in range(2):
        assert (await client.post(f"{upload_path}/complete")).status_code == 200
        assert await download_file(client, document_path) == crash.final_content
    assert await list_object_states() == ["ready object"]
