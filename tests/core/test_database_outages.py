"""Requests fail in time while the database is frozen, down or overloaded."""

import asyncio
from pathlib import Path
from time import monotonic

import asyncpg
import pytest
from httpx import AsyncClient
from sqlalchemy import text

from app.core.db import Database
from app.core.db import _pool as pools
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings
from tests.support.factories import make_author
from tests.support.postgres_server import frozen_postgres, running_postgres
from tests.support.problems import check_problem
from tests.support.processes import poll_until, running_server
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

REQUEST_TIMEOUT = 2.0  # seconds
# A busy machine may take this much longer than a timeout.
TOLERANCE_SECONDS = 1.5
SHORT_TIMEOUTS = {
    "DB_POOL_TIMEOUT": "0.5",
    "DB_STATEMENT_TIMEOUT": "1",
    "REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT}",
}
POOL_SIZE = 4
# The pool for readiness probes adds one connection.
MAX_CONNECTIONS = POOL_SIZE + 1
SELECT_TIMEOUTS = text(
    "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
)


async def test_requests_are_503_in_time_while_the_database_is_frozen(
    migrated_data_dir: Path,
) -> None:
    """Afterwards, the service recovers without opening more connections than allowed."""
    async with (
        running_postgres(migrated_data_dir) as url,
        running_server(DATABASE_URL=url, DB_POOL_SIZE=f"{POOL_SIZE}", **SHORT_TIMEOUTS) as (
            _,
            origin,
        ),
        AsyncClient(base_url=origin, timeout=30) as client,
    ):
        path = f"/authors/{(await make_author(client))['id']}"

        async def read_several_times() -> set[int]:
            responses = await asyncio.gather(*(client.get(path) for _ in range(2 * POOL_SIZE)))
            return {response.status_code for response in responses}

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        # The first check imports the client of the object store. On a busy machine, this takes
        # longer than the request timeout.
        await poll_until(is_ready)
        assert await read_several_times() == {200}
        with frozen_postgres(migrated_data_dir):
            started_at = monotonic()
            reads = [asyncio.create_task(client.get(path)) for _ in range(12)]
            writes = [
                asyncio.create_task(client.patch(path, json={"name": "late"})) for _ in range(4)
            ]
            assert (await client.get("/livez")).status_code == 200
            readiness = await client.get("/readyz")
            check_problem(readiness, 503, "unavailable")
            assert readiness.json()["detail"] == "database: does not respond"
            for response in await asyncio.gather(*reads, *writes):
                assert response.status_code == 503
                assert response.headers["retry-after"] == "1"
            assert monotonic() - started_at < REQUEST_TIMEOUT + TOLERANCE_SECONDS

        async def has_recovered() -> bool:
            return await read_several_times() == {200}

        await poll_until(has_recovered)
        assert await is_ready()
        connection = await asyncpg.connect(url)
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bookshelf'"
        assert await connection.fetchval(count) <= MAX_CONNECTIONS
        await connection.close()


async def test_server_that_starts_without_a_database_becomes_ready_once_it_is_up(
    migrated_data_dir: Path,
) -> None:
    # Start and stop the database to learn its URL.
    async with running_postgres(migrated_data_dir) as url:
        pass
    async with (
        running_server(DATABASE_URL=url, **SHORT_TIMEOUTS) as (_, origin),
        AsyncClient(base_url=origin, timeout=30) as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        check_problem(await client.get("/readyz"), 503, "unavailable")
        check_problem(await client.get("/authors"), 503, "unavailable")
        async with running_postgres(migrated_data_dir) as url_after_restart:
            assert url_after_restart == url

            async def is_ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await poll_until(is_ready)
            assert (await client.get("/authors")).status_code == 200


async def test_lock_timeout_is_half_of_the_statement_timeout(database_url: str) -> None:
    """A statement that waits for a lock fails with an error that names the lock."""
    database = Database(make_settings(database_url))
    for session in (database.reads, database.named_databases["readiness"].reads):
        [row] = await session.execute(SELECT_TIMEOUTS)
        assert list(row.values()) == ["2500ms", "5s"]
    await database.close()


async def test_statements_start_no_parallel_workers(database_url: str) -> None:
    """Starting workers takes several milliseconds, and most statements less than one."""
    database = Database(make_settings(database_url))
    [row] = await database.reads.execute(text("SHOW max_parallel_workers_per_gather"))
    assert list(row.values()) == ["0"]
    await database.close()


async def test_request_is_503_immediately_when_too_many_wait_for_a_connection(
    database_url: str, storage: Storage
) -> None:
    database = Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=5.0))
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, pools.ConnectionPool)
    async with client_with_settings(database_url, database, storage) as client:
        # This block holds the only connection.
        async with database.engine.connect():
            waiting_requests = [
                asyncio.create_task(client.get("/authors"))
                for _ in range(pools.MAX_WAITERS_PER_CONNECTION)
            ]
            while pool._waiting_requests < pools.MAX_WAITERS_PER_CONNECTION:
                await asyncio.sleep(0)
            async with asyncio.timeout(TOLERANCE_SECONDS):
                rejected = await client.get("/authors")
            check_problem(rejected, 503, "overloaded")
            assert rejected.headers["retry-after"] == "1"
        responses = await asyncio.gather(*waiting_requests)
        assert {response.status_code for response in responses} == {200}
        assert pool.checkedout() == 0
    await database.close()
