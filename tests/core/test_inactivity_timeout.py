"""Deadlines: every request ends, whatever it waits for, and takes nothing with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import asyncpg
import pytest
from httpx import AsyncClient
from sqlalchemy import text

from app.core.db import Database
from app.core.db import _pool as pools
from tests.conftest import make_settings
from tests.core.test_sqlstate import serve_statements as over
from tests.support.connections import tcp_connection
from tests.support.document_forms import END_OF_FORM, FORM_HEADERS, START_OF_FORM
from tests.support.factories import make_author
from tests.support.postgres_server import frozen_postgres, running_postgres
from tests.support.problems import check_problem
from tests.support.processes import poll_until as eventually
from tests.support.processes import running_server

pytestmark = pytest.mark.private_database

REQUEST_TIMEOUT = 2.0  # seconds
AT_ONCE = 1.5  # seconds that a busy machine may take beyond what it should
SHORT = {
    "DB_POOL_TIMEOUT": "0.5",
    "DB_STATEMENT_TIMEOUT": "1",
    "REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT}",
}
TIMEOUTS = text("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")


async def test_a_frozen_database_is_503_in_time_and_the_service_recovers_by_itself(
    migrated_data_dir: Path,
) -> None:
    async with (
        running_postgres(migrated_data_dir) as url,
        running_server(DATABASE_URL=url, DB_POOL_SIZE="4", **SHORT) as (_, origin),
        AsyncClient(base_url=origin, timeout=30) as client,
    ):
        path = f"/authors/{(await make_author(client))['id']}"
        for answer in await asyncio.gather(*(client.get(path) for _ in range(8))):
            assert answer.status_code == 200
        with frozen_postgres(migrated_data_dir):
            start = monotonic()
            reads = [asyncio.create_task(client.get(path)) for _ in range(12)]
            writes = [
                asyncio.create_task(client.patch(path, json={"name": "late"})) for _ in range(4)
            ]
            assert (await client.get("/livez")).status_code == 200
            unready = await client.get("/readyz")
            check_problem(unready, 503, "unavailable")
            assert unready.json()["detail"] == "database: does not respond"
            for request in (*reads, *writes):
                answer = await request
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
            assert monotonic() - start < REQUEST_TIMEOUT + AT_ONCE

        async def recovered() -> bool:
            answers = await asyncio.gather(*(client.get(path) for _ in range(4)))
            return {answer.status_code for answer in answers} == {200}

        await eventually(recovered)
        assert (await client.get("/readyz")).status_code == 200
        other = await asyncpg.connect(url)
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bookshelf'"
        assert await other.fetchval(count) <= 4 + 1
        await other.close()


async def test_the_server_starts_without_its_database_and_recovers_when_it_comes(
    migrated_data_dir: Path,
) -> None:
    async with running_postgres(migrated_data_dir) as url:
        pass
    async with (
        running_server(DATABASE_URL=url, **SHORT) as (_, origin),
        AsyncClient(base_url=origin, timeout=30) as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        check_problem(await client.get("/readyz"), 503, "unavailable")
        check_problem(await client.get("/authors"), 503, "unavailable")
        async with running_postgres(migrated_data_dir) as same:
            assert same == url

            async def ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            await eventually(ready)
            assert (await client.get("/authors")).status_code == 200


@asynccontextmanager
async def sending(
    origin: str, begun: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which the beginning of a request has been sent."""
    async with tcp_connection(origin) as (reader, writer):
        writer.write(begun.encode())
        await writer.drain()
        yield reader, writer


def head(path: str, kind: str, length: int) -> str:
    named = f"Content-Type: {kind}\r\nContent-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: test\r\n{named}\r\n\r\n"


JSON = head("/authors", "application/json", 30) + '{"name": '


def upload(length: int) -> str:
    return head("/documents", FORM_HEADERS["content-type"], length) + START_OF_FORM.decode()


@pytest.mark.parametrize("begun", [JSON, upload(2000)], ids=["JSON", "a file"])
async def test_a_body_that_stalls_is_408_and_the_end_of_the_connection(
    database_url: str, begun: str
) -> None:
    async with (
        running_server(DATABASE_URL=database_url, **SHORT) as (_, origin),
        sending(origin, begun) as (reader, _),
        asyncio.timeout(REQUEST_TIMEOUT + AT_ONCE),
    ):
        answer = (await reader.read()).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "connection: close" in answer.lower()
    assert "request-timeout" in answer


async def test_a_body_that_only_drips_is_408(database_url: str) -> None:
    async with (
        running_server(DATABASE_URL=database_url, **SHORT) as (_, origin),
        sending(origin, upload(2000)) as (reader, writer),
    ):
        # Its first line: what still drips after it meets a closed connection.
        answering = asyncio.create_task(reader.readline())
        async with asyncio.timeout(REQUEST_TIMEOUT + AT_ONCE):
            while not answering.done():
                writer.write(b".")
                await asyncio.wait({answering}, timeout=0.1)  # it is what such a client does
        assert (await answering).startswith(b"HTTP/1.1 408 ")


async def test_an_upload_that_goes_on_may_take_longer_than_the_deadline(database_url: str) -> None:
    step, steps = 64 * 1024, 10
    length = len(START_OF_FORM) + steps * step + len(END_OF_FORM)
    async with (
        running_server(DATABASE_URL=database_url, **SHORT) as (_, origin),
        sending(origin, upload(length)) as (reader, writer),
    ):
        start = monotonic()
        for _ in range(steps):
            writer.write(b"x" * step)
            await writer.drain()
            await asyncio.sleep(1.5 * REQUEST_TIMEOUT / steps)  # it is what such a client does
        writer.write(END_OF_FORM)
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")
        assert monotonic() - start > REQUEST_TIMEOUT


async def test_who_waits_for_a_lock_is_told_so_before_who_works_for_too_long(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    database = Database(make_settings(database_url))
    for session in (database.reads, database.named_databases["readiness"].reads):
        assert [tuple(row.values()) for row in await session.execute(TIMEOUTS)] == [
            ("2500ms", "5s")
        ]
    await database.close()


async def test_more_than_so_many_who_wait_for_a_connection_are_refused_at_once(
    database_url: str,
) -> None:
    database = Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=5.0))
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, pools.ConnectionPool)
    async with over(database) as client:
        async with database.engine.connect():
            waiting = [
                asyncio.create_task(client.get("/authors"))
                for _ in range(pools.MAX_WAITERS_PER_CONNECTION)
            ]
            while pool._waiting_requests < pools.MAX_WAITERS_PER_CONNECTION:
                await asyncio.sleep(0)
            async with asyncio.timeout(AT_ONCE):
                refused = await client.get("/authors")
            check_problem(refused, 503, "overloaded")
            assert refused.headers["retry-after"] == "1"
        assert {(await one).status_code for one in waiting} == {200}
        assert pool.checkedout() == 0
    await database.close()
