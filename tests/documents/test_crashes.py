"""A server killed at any point, and one sweep later: every ready document has its exact bytes, and
nothing else is stored."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from httpx import AsyncClient

from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.documents.conftest import Age, Stored
from tests.support.commands import exit_code_and_output
from tests.support.factories import make_direct_upload, make_document
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

OLD, SMALL = b"%PDF-1.7 it had this file", b"%PDF-1.7 and got this one"
LARGE = bytes(range(256)) * (2 * PART_SIZE // 256) + b"the third part"
NOTHING: list[str] = []

Ask = Callable[[AsyncClient, str], Awaitable[httpx.Response]]


def replaces(content: bytes) -> Ask:
    return lambda client, path: client.patch(path, files={"file": ("new.pdf", content)})


def deletes(client: AsyncClient, path: str) -> Awaitable[httpx.Response]:
    return client.delete(path)


# The request to the store that the crash comes with, what is there then, and the file at last.
POINTS: dict[str, tuple[Ask, ProxyAction, str, list[str], bytes | None]] = {
    "before the first part": (
        replaces(LARGE), ProxyAction.HOLD, "POST .*[?]uploads", ["pending", "ready object"], OLD,
    ),
    "between parts": (
        replaces(LARGE), ProxyAction.HOLD, "partNumber=2", ["pending part", "ready object"], OLD,
    ),
    "between complete and commit": (
        replaces(LARGE), ProxyAction.HOLD_RESPONSE, "POST .*[?]uploadId",
        ["pending object", "ready object"], OLD,
    ),
    "before the only put": (
        replaces(SMALL), ProxyAction.HOLD, "PUT", ["pending", "ready object"], OLD,
    ),
    "between the only put and commit": (
        replaces(SMALL), ProxyAction.HOLD_RESPONSE, "PUT", ["pending object", "ready object"], OLD,
    ),
    "between a replace's commit and the removal": (
        replaces(SMALL), ProxyAction.HOLD, "DELETE", ["deleting object", "ready object"], SMALL,
    ),
    "between a delete's commit and the removal": (
        deletes, ProxyAction.HOLD, "DELETE", ["deleting object"], None,
    ),
    "between the removal and its record's": (
        deletes, ProxyAction.HOLD_RESPONSE, "DELETE", ["deleting"], None,
    ),
}  # fmt: skip


@pytest.fixture
def environment(database_url: str, settings: Settings) -> dict[str, str]:
    """Of the server that is killed, and of the sweeper after it."""
    given = {"DATABASE_URL": database_url, "S3_PREFIX": settings.s3_prefix}
    return given | {"UPLOAD_GRACE_PERIOD": "1"}


async def killed(
    environment: dict[str, str],
    proxy: StoreProxy,
    fate: ProxyAction,
    line: str,
    ask: Ask,
    path: str,
) -> None:
    """A server is killed when what it is asked has led to this request to the store."""
    async with (
        running_server(**environment, S3_ENDPOINT_URL=proxy.origin) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        proxy.set_action(fate, line)
        asked = asyncio.ensure_future(ask(client, path))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await proxy.action_reached.wait()
        process.kill()
        await process.wait()
        await asyncio.wait([asked])
        asked.exception()  # for a delete, and a replace at its end, there was an answer


async def file_of(client: AsyncClient, path: str) -> bytes | None:
    """The bytes by the signed URL of the document, while there is one."""
    answer = await client.get(path)
    if answer.status_code == 404:
        return None
    async with AsyncClient() as browser:
        return (await browser.get(answer.json()["file_url"])).raise_for_status().content


@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_one_sweep_leaves_documents_with_their_exact_bytes_and_nothing_else(
    point: str,
    environment: dict[str, str],
    proxy: StoreProxy,
    client: AsyncClient,
    stored: Stored,
    age: Age,
) -> None:
    ask, fate, line, left, content = POINTS[point]
    path = f"/documents/{(await make_document(client, content=OLD))['id']}"
    await killed(environment, proxy, fate, line, ask, path)
    assert await stored() == left
    await age()
    code, said = await exit_code_and_output("jobs", "run", "sweep-storage", **environment)
    assert code == 0, said
    assert await stored() == (["ready object"] if content else NOTHING)
    assert await file_of(client, path) == content


async def test_a_direct_upload_is_completed_again_after_a_crash_before_the_commit(
    environment: dict[str, str], proxy: StoreProxy, client: AsyncClient, stored: Stored
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    complete = f"{await make_direct_upload(client, path, SMALL)}/complete"
    fate, line = ProxyAction.HOLD_RESPONSE, "POST .*[?]uploadId"
    await killed(environment, proxy, fate, line, lambda to, at: to.post(at), complete)
    assert await stored() == ["pending object"]
    for _ in range(2):
        assert (await client.post(complete)).status_code == 200
        assert await file_of(client, path) == SMALL
    assert await stored() == ["ready object"]
