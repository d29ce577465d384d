"""The sweeper beside uploads that go on, beside others of its kind, and before what is not ours."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.documents import lifecycle
from app.documents.sweeper import Sweeper, SweepResult
from app.settings import Settings
from tests.documents.conftest import Age, Stored, Sweep, UseStore
from tests.documents.forms import HEADERS, LARGE, SMALL, form
from tests.support.factories import make_direct_upload, make_document
from tests.support.problems import check_problem
from tests.support.processes import exit_code_and_output
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
HELD = {
    "a small file on its way": (SMALL, ProxyAction.HOLD, "PUT"),
    "a small file in the store": (SMALL, ProxyAction.HOLD_RESPONSE, "PUT"),
    "a large file not begun": (LARGE, ProxyAction.HOLD, "POST .*[?]uploads"),
    "a part on its way": (LARGE, ProxyAction.HOLD, "partNumber=1"),
    "a large file not completed": (LARGE, ProxyAction.HOLD, "POST .*[?]uploadId"),
    "a large file in the store": (LARGE, ProxyAction.HOLD_RESPONSE, "POST .*[?]uploadId"),
}


@SIZES
async def test_an_upload_that_makes_progress_is_not_swept_however_long_it_takes(
    size: int,
    client: AsyncClient,
    stored: Stored,
    age: Age,
    sweep: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        lifecycle, "PROGRESS_RECORDS_PER_GRACE_PERIOD", 1e9
    )  # in a grace period: with all that it does
    answer = await client.post("/documents", content=form(size, age, sweep), headers=HEADERS)
    assert answer.status_code == 201, answer.text
    assert await stored() == ["ready object"]


@SIZES
async def test_an_upload_that_was_swept_is_refused_and_leaves_nothing(
    size: int, client: AsyncClient, stored: Stored, age: Age, sweep: Sweep
) -> None:
    answer = await client.post("/documents", content=form(size, age, sweep), headers=HEADERS)
    assert "made no progress" in check_problem(answer, 409, "conflict")["detail"]
    assert await stored() == []


@pytest.mark.parametrize("point", HELD)
async def test_an_upload_that_is_swept_at_its_end_is_refused_and_leaves_nothing(
    point: str,
    proxy: StoreProxy,
    use_store: UseStore,
    client: AsyncClient,
    stored: Stored,
    age: Age,
    sweep: Sweep,
) -> None:
    size, fate, line = HELD[point]
    use_store(proxy.origin)
    proxy.set_action(fate, line)
    asked = asyncio.create_task(client.post("/documents", content=form(size), headers=HEADERS))
    await proxy.action_reached.wait()
    await age()
    await sweep()
    proxy.release.set()
    check_problem(await asked, 409, "conflict")
    assert await stored() == []


async def test_an_abandoned_direct_upload_is_swept(
    client: AsyncClient, stored: Stored, age: Age, sweep: Sweep
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    upload = await make_direct_upload(client, path, b"never completed")
    await sweep()
    assert await stored() == ["pending part"]
    await age()
    swept = await sweep()
    assert swept == SweepResult(1, 1, 1, [])
    assert await stored() == []
    check_problem(await client.post(f"{upload}/complete"), 404, "not-found")


@pytest.mark.parametrize(("grace", "left"), [(3600, ["part"]), (0, [])], ids=["young", "old"])
async def test_multipart_uploads_that_no_row_knows_are_aborted_after_the_grace_period(
    grace: int,
    left: list[str],
    database: Database,
    storage: Storage,
    settings: Settings,
    stored: Stored,
) -> None:
    await storage.start_multipart_upload(f"{settings.s3_prefix}orphan")
    changed = settings.model_copy(update={"upload_grace_period": grace})
    await Sweeper(database.writes, storage, changed).sweep()
    assert await stored() == left


async def test_objects_that_no_row_knows_are_reported_and_left_alone(
    database_url: str, settings: Settings, storage: Storage, stored: Stored
) -> None:
    key = f"{settings.s3_prefix}not-of-the-service"
    await storage.put(key, bytearray(b"?"))
    environment = {"DATABASE_URL": database_url, "S3_PREFIX": settings.s3_prefix}
    code, said = await exit_code_and_output("jobs", "run", "sweep-storage", **environment)
    assert (code, said.splitlines()[-1]) == (0, str(SweepResult(0, 0, 0, [key])))
    assert f"object {key} is in the store but has no row in the database" in said
    assert await stored() == ["object"]


async def test_four_sweepers_at_once_and_one_after_them_are_harmless(
    client: AsyncClient,
    outside_connection: asyncpg.Connection,
    stored: Stored,
    age: Age,
    sweep: Sweep,
) -> None:
    for name in ("kept", "gone") * 5:
        made = await make_document(client, name, b"of " + name.encode())
        await make_direct_upload(client, f"/documents/{made['id']}", b"never completed")
    await outside_connection.execute("DELETE FROM documents WHERE name = 'gone'")
    await age()
    swept = await asyncio.gather(*(sweep() for _ in range(4)))
    assert sum(each.expired_uploads for each in swept) == 10
    assert await sweep() == SweepResult(0, 0, 0, [])
    assert await stored() == ["ready object"] * 5
