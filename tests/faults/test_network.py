"""One server process, and what happens between it and its Postgres: each fault, and its end."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from time import monotonic

import asyncpg
import pytest
from asyncpg.transaction import Transaction
from httpx import Response

from tests.core.test_idempotency import COMMITTED, REPLAYED
from tests.faults.load import loaded
from tests.faults.service import AT_ONCE, REQUEST_TIMEOUT, Service, served
from tests.support import database_activity, servers
from tests.support.database_proxy import DatabaseProxy, running_database_proxy
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS

WRITTEN = {200, 201, 204, 503}
GIVEN_UP = {409}  # for what is sent again with its key while the first is not quite given up
KEY = {"Idempotency-Key": "lost"}


@pytest.fixture(scope="module")
async def direct(template_url: str) -> AsyncIterator[str]:
    url = await servers.copy_database(template_url, "network")
    yield url
    await servers.drop_database(url)


@pytest.fixture(scope="module")
async def wire(direct: str) -> AsyncIterator[DatabaseProxy]:
    async with running_database_proxy(direct) as made:
        yield made


@pytest.fixture(scope="module")
async def service(wire: DatabaseProxy, direct: str) -> AsyncIterator[Service]:
    async with served(wire.url, direct=direct, prefix="faults/network/") as made:
        yield made


@pytest.fixture
async def outside_connection(direct: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(direct)
    yield connection
    await connection.close()


@pytest.fixture
async def locked(direct: str, service: Service) -> AsyncIterator[Transaction]:
    """A transaction for whose end whoever asks for authors waits."""
    connection = await asyncpg.connect(direct)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE authors IN ACCESS EXCLUSIVE MODE")
    yield transaction
    await connection.close()


async def test_all_connections_are_reset_again_and_again(
    service: Service, wire: DatabaseProxy
) -> None:
    async with loaded(service.client, service.origin) as load:
        for _ in range(5):
            wire.reset_connections()
            await load.all_succeed()
    assert load.statuses("GET") == {200}
    assert load.statuses() <= WRITTEN
    await load.is_all_there(service.url)
    await service.is_well()


async def test_a_read_whose_connection_is_reset_is_done_on_another(
    service: Service,
    wire: DatabaseProxy,
    outside_connection: asyncpg.Connection,
    locked: Transaction,
) -> None:
    asked = asyncio.ensure_future(service.client.get("/authors"))
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_WAITING_FOR_LOCK
    )
    wire.reset_connections()
    # The first statement still waits: its server does not know that the client has gone.
    await database_activity.wait_for_query_result(
        2, outside_connection, database_activity.COUNT_WAITING_FOR_LOCK
    )
    await locked.rollback()
    assert (await asked).status_code == 200
    await service.is_well()


async def test_a_write_whose_connection_is_reset_is_not_done_again(
    service: Service,
    wire: DatabaseProxy,
    outside_connection: asyncpg.Connection,
    locked: Transaction,
) -> None:
    asked = asyncio.ensure_future(service.client.post("/authors", json={"name": "once"}))
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_WAITING_FOR_LOCK
    )
    wire.reset_connections()
    check_problem(await asked, 503, "unavailable")
    await locked.rollback()
    await database_activity.wait_for_query_result(
        0, outside_connection, database_activity.COUNT_BUSY
    )
    assert (
        await outside_connection.fetchval("SELECT count(*) FROM authors WHERE name = 'once'") <= 1
    )
    await service.is_well()


@pytest.mark.parametrize("lost", ["by a reset", "in a black hole"])
@pytest.mark.parametrize("headers", [{}, KEY], ids=["one statement", "with a key"])
async def test_a_write_whose_commit_is_not_heard_of_is_unavailable_and_done(
    headers: dict[str, str],
    lost: str,
    service: Service,
    wire: DatabaseProxy,
    outside_connection: asyncpg.Connection,
) -> None:
    name = f"{lost} {headers}"
    headers = {key: lost.replace(" ", "-") for key in headers}

    def post() -> Coroutine[None, None, Response]:
        return service.client.post("/authors", json={"name": name}, headers=headers)

    wire.block_at_response(COMMITTED if headers else name.encode())
    start, asked = monotonic(), asyncio.create_task(post())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await wire.response_intercepted.wait()
    if lost == "by a reset":
        wire.unblock()
    check_problem(await asked, 503, "unavailable")
    assert monotonic() - start < (AT_ONCE if lost == "by a reset" else REQUEST_TIMEOUT + AT_ONCE)
    wire.unblock()
    count = "SELECT count(*) FROM authors WHERE name = $1"
    assert await outside_connection.fetchval(count, name) == 1
    if headers:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (again := await post()).status_code in GIVEN_UP:
                check_problem(again, 409, "request-in-progress")
        assert (again.status_code, again.headers[REPLAYED]) == (201, "true")
        assert await outside_connection.fetchval(count, name) == 1
    await service.is_well()


async def test_the_network_is_a_black_hole_for_a_while(
    service: Service, wire: DatabaseProxy
) -> None:
    async with loaded(service.client, service.origin) as load:
        wire.is_blocked = True
        await load.all_fail()
        assert (await service.client.get("/livez")).status_code == 200
        check_problem(await service.client.get("/readyz"), 503, "unavailable")
        wire.unblock()
        await load.all_succeed()
    assert load.statuses() <= WRITTEN | GIVEN_UP
    assert load.longest() < REQUEST_TIMEOUT + AT_ONCE
    await load.is_all_there(service.url)
    await service.is_well()
