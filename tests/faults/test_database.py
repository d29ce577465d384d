"""Faults of the Postgres server: the service fails with 503 meanwhile, and recovers afterwards."""

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
from tests.support import database_activity, postgres_server
from tests.support.change_feed import find_end, list_changed_ids
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.request_load import running_load
from tests.support.running_service import (
    LOCK_TIMEOUT,
    REQUEST_TIMEOUT,
    TOLERANCE_SECONDS,
    RunningService,
    running_service,
)

pytestmark = pytest.mark.slow

RECOVERY_SECONDS = 1.0
ALLOWED_STATUSES = {200, 201, 204, 503}
# The status of a retry with an Idempotency-Key while the first request is still being cancelled.
REQUEST_IN_PROGRESS = 409
INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), 'Ada') RETURNING id"
TERMINATE_BACKENDS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf'
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return postgres_server.create_migrated_data_dir(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def postgres(data_dir: Path) -> Iterator[Postgres]:
    """A server with default settings, which has written each commit to disk (fsync)."""
    with embedded.run_postgres(data_dir) as server:
        yield server


@pytest.fixture(scope="module")
async def service(postgres: Postgres) -> AsyncIterator[RunningService]:
    async with running_service(postgres.url(), prefix="faults/database/") as service:
        yield service


async def test_service_recovers_when_postgres_is_killed_and_restarted(
    service: RunningService, postgres: Postgres, data_dir: Path
) -> None:
    async with running_load(service.client, service.origin) as load:
        await asyncio.to_thread(postgres_server.kill_postgres, data_dir)
        # The processes are dead already; this makes `postgres` aware of it.
        await asyncio.to_thread(postgres.stop)
        killed_at = monotonic()
        check_problem(await service.client.get("/authors"), 503, "unavailable")
        await asyncio.to_thread(postgres.start)
        assert await load.wait_for_recovery() < RECOVERY_SECONDS
        await load.wait_until_all_succeed()
        recovered_at = monotonic()
        await load.wait_until_all_succeed()
    assert load.statuses() <= ALLOWED_STATUSES
    assert 503 in load.statuses(since=killed_at)
    assert 503 not in load.statuses(since=recovered_at)
    await load.check_database(service.database_url)
    await service.check_recovered()


async def test_service_recovers_when_a_crashed_backend_restarts_postgres(
    service: RunningService,
) -> None:
    """Postgres restarts all its processes when one of them is killed."""
    async with running_load(service.client, service.origin) as load:
        await crash_postgres(await asyncpg.connect(service.database_url))
        (await connect_when_ready(service.database_url)).terminate()
        assert await load.wait_for_recovery() < RECOVERY_SECONDS
        await load.wait_until_all_succeed()
    assert load.statuses() <= ALLOWED_STATUSES
    await load.check_database(service.database_url)
    await service.check_recovered()


async def test_change_feed_misses_nothing_after_a_crash(service: RunningService) -> None:
    """Postgres may use the numbers of transactions again that it has not written to disk."""
    await make_author(service.client)
    connection = await asyncpg.connect(service.database_url)
    for _ in range(50):
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(INSERT_AUTHOR)
        await transaction.rollback()
    after = await find_end(service.client)
    await crash_postgres(connection)
    connection = await connect_when_ready(service.database_url)
    author_id = await connection.fetchval(INSERT_AUTHOR)
    connection.terminate()
    assert await list_changed_ids(service.client, after) == [str(author_id)]


async def crash_postgres(connection: asyncpg.Connection) -> None:
    """Kill the backend of a connection, so that Postgres restarts all its processes."""
    psutil.Process(connection.get_server_pid()).kill()
    while not connection.is_closed():
        await asyncio.sleep(0)


async def connect_when_ready(database_url: str) -> asyncpg.Connection:
    """Connect to a database server that is starting, as soon as it accepts connections."""
    while True:
        try:
            return await asyncpg.connect(database_url)
        except (PostgresError, OSError):
            await asyncio.sleep(0.01)


async def test_reads_succeed_while_backends_are_terminated_repeatedly(
    service: RunningService,
) -> None:
    async with running_load(service.client, service.origin) as load:
        connection = await asyncpg.connect(service.database_url)
        for _ in range(5):
            assert await connection.fetchval(TERMINATE_BACKENDS) > 1
            await load.wait_until_all_succeed()
        await connection.close()
    assert load.statuses("GET") == {200}
    assert load.statuses() <= ALLOWED_STATUSES
    await load.check_database(service.database_url)
    await service.check_recovered()


async def test_requests_fail_in_time_while_postgres_is_frozen(
    service: RunningService, data_dir: Path
) -> None:
    async with running_load(service.client, service.origin) as load:
        with postgres_server.frozen_postgres(data_dir):
            await load.wait_until_all_fail()
            assert (await service.client.get("/livez")).status_code == 200
            check_problem(await service.client.get("/readyz"), 503, "unavailable")
        await load.wait_until_all_succeed()
    assert load.statuses() <= ALLOWED_STATUSES | {REQUEST_IN_PROGRESS}
    assert load.longest_seconds() < REQUEST_TIMEOUT + TOLERANCE_SECONDS
    await load.check_database(service.database_url)
    await service.check_recovered()


async def test_locked_table_makes_only_requests_that_use_it_fail(service: RunningService) -> None:
    client = service.client
    author = await make_author(client)
    new_book = {"title": "x", "author_id": author["id"]}
    headers = {"Idempotency-Key": "locked"}
    observer = await asyncpg.connect(service.database_url)
    locker = await asyncpg.connect(service.database_url)
    async with locker.transaction():
        await locker.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
        started_at = monotonic()
        waiting_requests = [
            asyncio.ensure_future(request)
            for request in (
                client.get("/books"),
                client.post("/books", json=new_book, headers=headers),
                client.get(f"/books/{UNKNOWN_ID}"),
                client.patch(f"/books/{UNKNOWN_ID}", json={"title": "y"}),
                client.delete(f"/books/{UNKNOWN_ID}"),
            )
        ]
        await database_activity.wait_for_query_result(
            len(waiting_requests), observer, database_activity.COUNT_WAITING_FOR_LOCK
        )
        for path in ("/authors", "/users", "/documents"):
            assert (await client.get(path)).status_code == 200
        assert (await client.post("/authors", json={"name": "x"})).status_code == 201
        assert not any(request.done() for request in waiting_requests)
        for response in await asyncio.gather(*waiting_requests):
            check_problem(response, 503, "overloaded")
            assert response.headers["retry-after"] == "1"
        assert monotonic() - started_at < LOCK_TIMEOUT + TOLERANCE_SECONDS
    assert (await client.get("/books")).json()["total"] == 0
    assert (await client.post("/books", json=new_book, headers=headers)).status_code == 201
    await observer.close()
    await locker.close()
    await service.check_recovered()


@pytest.fixture
async def small_disk(service: RunningService, tmp_path: Path) -> AsyncIterator[Path]:
    """The directory of a file system of 4 MiB on which Postgres stores the table `authors`."""
    tmp_path.chmod(0o755)
    owner = os.geteuid()
    if owner == 0:
        # Postgres runs as this user if the tests run as root.
        owner = pwd.getpwnam("nobody").pw_uid
    options = f"size=4m,mode=0700,uid={owner}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system requires root, and fails in some containers")
    connection = await asyncpg.connect(service.database_url)
    try:
        await connection.execute(f"CREATE TABLESPACE small LOCATION '{tmp_path}'")
        await connection.execute("ALTER TABLE authors SET TABLESPACE small")
        yield tmp_path
        await connection.execute("ALTER TABLE authors SET TABLESPACE pg_default")
        await connection.execute("DROP TABLESPACE small")
    finally:
        await connection.close()
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_reads_succeed_and_writes_are_503_while_the_disk_is_full(
    service: RunningService, small_disk: Path
) -> None:
    async with running_load(service.client, service.origin) as load:
        ballast = small_disk / "ballast"
        file_system = os.statvfs(small_disk)
        # The load may fill the disk before the file does.
        with suppress(OSError):
            ballast.write_bytes(bytes(file_system.f_bavail * file_system.f_bsize))
        await load.wait_for_status(503)
        # The load also deletes authors, which makes room for a few writes.
        long_name = {"name": "x" * 200}
        while True:
            response = await service.client.post("/authors", json=long_name)
            if response.status_code != 201:
                break
        check_problem(response, 503, "overloaded")
        assert (await service.client.get("/readyz")).status_code == 200
        ballast.unlink()
        assert await load.wait_for_recovery() < RECOVERY_SECONDS
        await load.wait_until_all_succeed()
    assert load.statuses("GET") == {200}
    assert load.statuses() <= ALLOWED_STATUSES
    await load.check_database(service.database_url)
    await service.check_recovered()
