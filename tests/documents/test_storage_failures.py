"""A store that fails in any way harms no more than the uploads; so does a client that leaves."""

import asyncio
import re

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import _s3 as s3
from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.conftest import make_settings
from tests.documents.conftest import Stored, Sweep, UseStore
from tests.documents.forms import HEADERS, LARGE, SMALL, form
from tests.support.connections import tcp_connection
from tests.support.factories import make_book, make_document
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.resources import get_resources, replace_resources
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

NOBODY_LISTENS = "http://127.0.0.1:1"
FAILURES = {
    fate.name.lower(): fate for fate in ProxyAction if fate.name not in {"PASS", "HOLD_RESPONSE"}
}
FAILURES.pop("internal_error")  # a 200 with an error in it is what only a complete may answer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(s3, "READ_TIMEOUT_SECONDS", 0.5)


@pytest.fixture(params=["down", *FAILURES])
def fail(request: pytest.FixtureRequest, proxy: StoreProxy, use_store: UseStore) -> StoreProxy:
    """A store that fails, each in its way; the requests that it got."""
    proxy.set_action(FAILURES.get(request.param, ProxyAction.PASS))
    use_store(NOBODY_LISTENS if request.param == "down" else proxy.origin)
    return proxy


async def test_an_upload_is_unavailable_and_leaves_no_document_while_the_store_fails(
    client: AsyncClient, fail: StoreProxy, stored: Stored, sweep: Sweep
) -> None:
    answer = await client.post("/documents", content=form(SMALL), headers=HEADERS)
    check_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert len(fail.request_lines) <= s3.MAX_ATTEMPTS  # it is not asked to clean up as well
    assert (await client.get("/documents")).json()["total"] == 0
    await sweep()
    assert await stored() == []


async def test_all_but_uploads_works_while_the_store_fails(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore, stored: Stored, sweep: Sweep
) -> None:
    """A document can even be deleted: the sweeper removes its file later."""
    path = f"/documents/{(await make_document(client, content=b'kept'))['id']}"
    use_store(NOBODY_LISTENS)
    await make_book(client)
    await make_document(client, "without a file")
    assert (await client.get("/books")).json()["total"] == 1
    assert (await client.get(path)).json()["file_url"]
    assert (await client.get("/documents")).json()["items"][0]["file_url"]
    assert (await client.get(f"{path}/content")).status_code == 307
    assert (await client.delete(path)).status_code == 204
    assert await stored() == ["deleting object"]
    await sweep()
    assert await stored() == []


@pytest.mark.parametrize(
    "fate", [ProxyAction.INTERNAL_ERROR, ProxyAction.SLOW_DOWN, ProxyAction.HOLD]
)
async def test_a_complete_that_fails_even_with_200_fails_the_upload(
    fate: ProxyAction,
    client: AsyncClient,
    proxy: StoreProxy,
    use_store: UseStore,
    stored: Stored,
    sweep: Sweep,
) -> None:
    use_store(proxy.origin)
    proxy.set_action(fate, "POST .*[?]uploadId")
    answer = await client.post("/documents", content=form(LARGE), headers=HEADERS)
    check_problem(answer, 503, "unavailable")
    assert await stored() == ["deleting part"]
    await sweep()
    assert await stored() == []


async def test_a_complete_whose_answer_was_lost_is_known_to_be_done_when_it_is_tried_again(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore, stored: Stored
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD_RESPONSE, "POST .*[?]uploadId")
    asked = asyncio.create_task(client.post("/documents", content=form(LARGE), headers=HEADERS))
    await proxy.action_reached.wait()
    proxy.set_action(ProxyAction.PASS)
    assert (await asked).status_code == 201
    assert len(proxy.request_lines) == 2  # once more, and whether it is there
    assert await stored() == ["ready object"]


async def test_without_credentials_files_are_unavailable_and_nothing_else(
    client: AsyncClient, use_store: UseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/documents/{(await make_document(client, content=b'kept'))['id']}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    use_store(NOBODY_LISTENS)
    check_problem(await client.get(path), 503, "unavailable")
    upload = await client.post("/documents", content=form(SMALL), headers=HEADERS)
    check_problem(upload, 503, "unavailable")
    await make_document(client, "without a file")


@pytest.mark.parametrize("point", ["while bytes flow", "while the store answers"])
async def test_an_upload_holds_no_connection_to_the_database(
    point: str,
    app: FastAPI,
    client: AsyncClient,
    database_url: str,
    proxy: StoreProxy,
    use_store: UseStore,
) -> None:
    replace_resources(
        app, database=Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=1))
    )
    use_store(proxy.origin)

    async def another_request() -> None:
        assert (await client.get("/books")).status_code == 200

    between = [another_request] if point == "while bytes flow" else []
    proxy.set_action(ProxyAction.PASS if between else ProxyAction.HOLD, "PUT")
    upload = client.post("/documents", content=form(SMALL, *between), headers=HEADERS)
    asked = asyncio.create_task(upload)
    await proxy.action_reached.wait()
    await another_request()
    proxy.release.set()
    assert (await asked).status_code == 201
    await get_resources(app).database.engine.dispose()


@pytest.mark.parametrize(
    ("size", "there"), [(PART_SIZE // 2, "pending"), (2 * PART_SIZE, "pending part")]
)
async def test_a_client_that_leaves_leaves_nothing_but_one_line_in_the_log(
    size: int, there: str, database_url: str, settings: Settings, stored: Stored
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, S3_PREFIX=settings.s3_prefix) as (
            process,
            origin,
        ),
        tcp_connection(origin) as (_, writer),
    ):
        assert process.stdout
        head = "POST /documents HTTP/1.1\r\nHost: b\r\nContent-Length: 40000000\r\n"
        writer.write(f"{head}Content-Type: {HEADERS['content-type']}\r\n\r\n".encode())
        writer.writelines([await anext(form(size)), b"and more to come"])
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await stored() != [there]:
                pass
            writer.close()
            said = await process.stdout.readuntil(b" path=/documents status=499 ")
            process.terminate()
            said += await process.stdout.read()
            await process.wait()
    announced = re.compile(r"  \S")  # a traceback is further in
    log = [line for line in said.decode().splitlines() if not announced.match(line)]
    assert len(log) == 1, log
    assert await stored() == []
