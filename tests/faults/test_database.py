"""One server process, and what happens to its Postgres: each fault, and that it is over."""

import asyncio
import os
import pwd
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import asyncpg
import psutil
import pytest
from asyncpg import PostgresError

from app import embedded
from app.embedded.postgresql import Postgres
from tests.authors.test_authors import NOBODY
from tests.faults.load import loaded
from tests.faults.service import AT_ONCE, LOCK_TIMEOUT, REQUEST_TIMEOUT, Service, served
from tests.support import database_activity, postgres_server
from tests.support.factories import make_author
from tests.support.problems import check_problem

LONG = {"name": "x" * 200}
RECOVERED = 1.0  # seconds
WRITTEN = {200, 201, 204, 503}
GIVEN_UP = {409}  # for what is sent again with its key while the first is not quite given up
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf'
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return postgres_server.create_migrated_data_dir(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def postgres(data_dir: Path) -> Iterator[Postgres]:
    """With its defaults: what it says to have written is on the disk."""
    with embedded.run_postgres(data_dir) as server:
        yield server


@pytest.fixture(scope="module")
async def service(postgres: Postgres) -> AsyncIterator[Service]:
    async with served(postgres.url(), prefix="faults/database/") as made:
        yield made


async def test_postgres_is_killed_and_started_again(
    service: Service, postgres: Postgres, data_dir: Path
) -> None:
    async with loaded(service.client, service.origin) as load:
        await asyncio.to_thread(postgres_server.kill_postgres, data_dir)
        await asyncio.to_thread(postgres.stop)  # of a process that is dead it takes note
        killed = monotonic()
        check_problem(await service.client.get("/authors"), 503, "unavailable")
        await asyncio.to_thread(postgres.start)
        assert await load.recovers() < RECOVERED
        await load.all_succeed()
        recovered = monotonic()
        await load.all_succeed()
    assert load.statuses() <= WRITTEN
    assert 503 in load.statuses(since=killed)
    assert 503 not in load.statuses(since=recovered)
    await load.is_all_there(service.url)
    await service.is_well()


async def test_one_process_of_postgres_is_killed_and_it_starts_all_the_others_anew(
    service: Service,
) -> None:
    async with loaded(service.client, service.origin) as load:
        other = await asyncpg.connect(service.url)
        psutil.Process(other.get_server_pid()).kill()
        while not other.is_closed():
            await asyncio.sleep(0)
        (await connected(service.url)).terminate()
        assert await load.recovers() < RECOVERED
        await load.all_succeed()
    assert load.statuses() <= WRITTEN
    await load.is_all_there(service.url)
    await service.is_well()


async def connected(url: str) -> asyncpg.Connection:
    """The first connection that a server which starts lets in."""
    while True:
        try:
            return await asyncpg.connect(url)
        except (PostgresError, OSError):
            await asyncio.sleep(0.01)


async def test_all_backends_are_terminated_again_and_again(service: Service) -> None:
    async with loaded(service.client, service.origin) as load:
        other = await asyncpg.connect(service.url)
        for _ in range(5):
            assert await other.fetchval(TERMINATE) > 1
            await load.all_succeed()
        await other.close()
    assert load.statuses("GET") == {200}
    assert load.statuses() <= WRITTEN
    await load.is_all_there(service.url)
    await service.is_well()


async def test_postgres_is_frozen(service: Service, data_dir: Path) -> None:
    async with loaded(service.client, service.origin) as load:
        with postgres_server.frozen_postgres(data_dir):
            await load.all_fail()
            assert (await service.client.get("/livez")).status_code == 200
            check_problem(await service.client.get("/readyz"), 503, "unavailable")
        await load.all_succeed()
    assert load.statuses() <= WRITTEN | GIVEN_UP
    assert load.longest() < REQUEST_TIMEOUT + AT_ONCE
    await load.is_all_there(service.url)
    await service.is_well()


async def test_a_table_is_locked(service: Service) -> None:
    client, key = service.client, {"Idempotency-Key": "locked"}
    book = {"title": "x", "author_id": (await make_author(client))["id"]}
    other, locking = [await asyncpg.connect(service.url) for _ in range(2)]
    async with locking.transaction():
        await locking.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
        start = monotonic()
        asked = [client.get("/books"), client.post("/books", json=book, headers=key)]
        for method, body in (("GET", None), ("PATCH", {"title": "y"}), ("DELETE", None)):
            asked.append(client.request(method, f"/books/{NOBODY}", json=body))
        waiting = [asyncio.ensure_future(each) for each in asked]
        await database_activity.wait_for_query_result(
            len(waiting), other, database_activity.COUNT_WAITING_FOR_LOCK
        )
        for path in ("/authors", "/users", "/documents"):
            assert (await client.get(path)).status_code == 200
        assert (await client.post("/authors", json={"name": "x"})).status_code == 201
        assert not any(each.done() for each in waiting)
        for answer in await asyncio.gather(*waiting):
            check_problem(answer, 503, "overloaded")
            assert answer.headers["retry-after"] == "1"
        assert monotonic() - start < LOCK_TIMEOUT + AT_ONCE
    assert (await client.get("/books")).json()["total"] == 0
    assert (await client.post("/books", json=book, headers=key)).status_code == 201
    for each in (other, locking):
        await each.close()
    await service.is_well()


@pytest.fixture
async def full(service: Service, tmp_path: Path) -> AsyncIterator[Path]:
    """A file whose removal makes room on a disk that is full, on which the authors are."""
    tmp_path.chmod(0o755)
    owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    options = f"size=4m,mode=0700,uid={owner}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not in every container")
    other = await asyncpg.connect(service.url)
    try:
        await other.execute(f"CREATE TABLESPACE small LOCATION '{tmp_path}'")
        await other.execute("ALTER TABLE authors SET TABLESPACE small")
        yield tmp_path / "ballast"
        await other.execute("ALTER TABLE authors SET TABLESPACE pg_default")
        await other.execute("DROP TABLESPACE small")
    finally:
        await other.close()
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_the_disk_of_postgres_is_full(service: Service, full: Path) -> None:
    async with loaded(service.client, service.origin) as load:
        free = os.statvfs(full.parent)
        with suppress(OSError):  # it was full before
            full.write_bytes(bytes(free.f_bavail * free.f_bsize))
        await load.is_told(503)
        while (refused := await service.client.post("/authors", json=LONG)).status_code == 201:
            pass  # what others have deleted makes room for some more
        check_problem(refused, 503, "overloaded")
        assert (await service.client.get("/readyz")).status_code == 200
        full.unlink()
        assert await load.recovers() < RECOVERED
        await load.all_succeed()
    assert load.statuses("GET") == {200}
    assert load.statuses() <= WRITTEN
    await load.is_all_there(service.url)
    await service.is_well()
