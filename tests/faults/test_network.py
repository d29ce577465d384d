"""Faults of the network between the service and its database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from time import monotonic

import asyncpg
import pytest
from asyncpg.transaction import Transaction
from httpx import Response

from tests.support import database_activity
from tests.support.database_proxy import (
    COMMIT_COMPLETE_MESSAGE,
    DatabaseProxy,
    running_database_proxy,
)
from tests.support.idempotent_requests import REPLAYED_HEADER
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS
from tests.support.request_load import running_load
from tests.support.running_service import (
    REQUEST_TIMEOUT,
    TOLERANCE_SECONDS,
    RunningService,
    running_service,
)

pytestmark = pytest.mark.slow

ALLOWED_STATUSES = {200, 201, 204, 503}
# The status of a retry with an Idempotency-Key while the first request is still being cancelled.
REQUEST_IN_PROGRESS = 409
COUNT_AUTHORS = "SELECT count(*) FROM authors WHERE name = $1"


@pytest.fixture(scope="module")
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    async with running_database_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def service(proxy: DatabaseProxy, database_url: str) -> AsyncIterator[RunningService]:
    async with running_service(
        proxy.url, direct_url=database_url, prefix="faults/network/"
    ) as service:
        yield service


@pytest.fixture
async def lock_on_authors(database_url: str, service: RunningService) -> AsyncIterator[Transaction]:
    """A transaction that locks the table `authors`, so that requests wait until it ends."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE authors IN ACCESS EXCLUSIVE MODE")
    yield transaction
    await connection.close()


async def test_reads_succeed_while_connections_are_reset_repeatedly(
    service: RunningService, proxy: DatabaseProxy
) -> None:
    async with running_load(service.client, service.origin) as load:
        for _ in range(5):
            proxy.reset_connections()
            await load.wait_until_all_succeed()
    assert load.statuses("GET") == {200}
    assert load.statuses() <= ALLOWED_STATUSES
    await load.check_database(service.database_url)
    await service.check_recovered()


async def test_read_is_retried_when_its_connection_is_reset(
    service: RunningService,
    proxy: DatabaseProxy,
    outside_connection: asyncpg.Connection,
    lock_on_authors: Transaction,
) -> None:
    request = asyncio.ensure_future(service.client.get("/authors"))
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_WAITING_FOR_LOCK
    )
    proxy.reset_connections()
    # Postgres does not notice that the first client is gone, so both statements wait.
    await database_activity.wait_for_query_result(
        2, outside_connection, database_activity.COUNT_WAITING_FOR_LOCK
    )
    await lock_on_authors.rollback()
    assert (await request).status_code == 200
    await service.check_recovered()


async def test_write_is_503_and_not_retried_when_its_connection_is_reset(
    service: RunningService,
    proxy: DatabaseProxy,
    outside_connection: asyncpg.Connection,
    lock_on_authors: Transaction,
) -> None:
    request = asyncio.ensure_future(service.client.post("/authors", json={"name": "once"}))
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_WAITING_FOR_LOCK
    )
    proxy.reset_connections()
    check_problem(await request, 503, "unavailable")
    await lock_on_authors.rollback()
    await database_activity.wait_for_query_result(
        0, outside_connection, database_activity.COUNT_BUSY
    )
    assert await outside_connection.fetchval(COUNT_AUTHORS, "once") <= 1
    await service.check_recovered()


@pytest.mark.parametrize("fault", ["reset", "blocked"])
@pytest.mark.parametrize("has_key", [False, True], ids=["one statement", "with a key"])
async def test_write_is_503_and_done_when_the_response_of_its_commit_is_lost(
    fault: str,
    service: RunningService,
    proxy: DatabaseProxy,
    outside_connection: asyncpg.Connection,
    *,
    has_key: bool,
) -> None:
    """A retry with the same `Idempotency-Key` returns the stored response."""
    name = f"{fault} {has_key}"
    headers = {}
    # A request without a key commits with its only statement, whose response has the name.
    lost_response = name.encode()
    max_seconds = TOLERANCE_SECONDS
    if has_key:
        headers["Idempotency-Key"] = f"lost-{fault}"
        lost_response = COMMIT_COMPLETE_MESSAGE
    if fault == "blocked":
        max_seconds += REQUEST_TIMEOUT

    def send_request() -> Coroutine[None, None, Response]:
        return service.client.post("/authors", json={"name": name}, headers=headers)

    proxy.block_at_response(lost_response)
    started_at = monotonic()
    request = asyncio.create_task(send_request())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await proxy.response_intercepted.wait()
    if fault == "reset":
        proxy.unblock()
    check_problem(await request, 503, "unavailable")
    assert monotonic() - started_at < max_seconds
    proxy.unblock()
    assert await outside_connection.fetchval(COUNT_AUTHORS, name) == 1
    if has_key:
        retry = await retry_while_in_progress(send_request)
        assert (retry.status_code, retry.headers[REPLAYED_HEADER]) == (201, "true")
        assert await outside_connection.fetchval(COUNT_AUTHORS, name) == 1
    await service.check_recovered()


async def retry_while_in_progress(
    send_request: Callable[[], Coroutine[None, None, Response]],
) -> Response:
    """Send a request with an Idempotency-Key until the first request with this key has ended."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            response = await send_request()
            if response.status_code != REQUEST_IN_PROGRESS:
                return response
            check_problem(response, REQUEST_IN_PROGRESS, "request-in-progress")


async def test_requests_fail_in_time_while_the_network_drops_all_packets(
    service: RunningService, proxy: DatabaseProxy
) -> None:
    async with running_load(service.client, service.origin) as load:
        proxy.is_blocked = True
        await load.wait_until_all_fail()
        assert (await service.client.get("/livez")).status_code == 200
        check_problem(await service.client.get("/readyz"), 503, "unavailable")
        proxy.unblock()
        await load.wait_until_all_succeed()
    assert load.statuses() <= ALLOWED_STATUSES | {REQUEST_IN_PROGRESS}
    assert load.longest_seconds() < REQUEST_TIMEOUT + TOLERANCE_SECONDS
    await load.check_database(service.database_url)
    await service.check_recovered()
