"""Requests that wait for changes: what wakes them, and what ends them."""

import asyncio
import struct
from contextlib import ExitStack
from socket import SO_LINGER, SOL_SOCKET

from fastapi import FastAPI
from httpx import AsyncClient

from app.core.caller_limits import Caller
from app.core.change_watcher import MAX_WAITING_REQUESTS
from app.core.db import Database
from tests.support.callers import TOKENS, USER_IDS, add_callers
from tests.support.change_feed import find_end, read_feed
from tests.support.connections import tcp_connection
from tests.support.databases import open_client
from tests.support.factories import make_author
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.problems import check_problem
from tests.support.processes import poll_until, running_server
from tests.support.resources import get_resources
from tests.support.rows import execute
from tests.support.settings import make_settings
from tests.support.shutdown import wait_for_exit

INSERT_DOCUMENT = """
INSERT INTO documents (id, name, owner_id) VALUES (gen_random_uuid(), 'Secret', :owner_id)
"""


async def wait_for_waiters(app: FastAPI, count: int) -> None:
    """Return when this many requests are waiting."""
    watcher = get_resources(app).change_watcher

    async def are_waiting() -> bool:
        return len(watcher._waiters) == count

    await poll_until(are_waiting)


async def test_waiting_request_returns_a_change_of_what_its_caller_may_see(
    client: AsyncClient, app: FastAPI, database: Database
) -> None:
    await add_callers(database)
    headers = {"Authorization": f"Bearer {TOKENS['stranger']}"}
    response = await client.get("/changes?after=now", headers=headers)
    parameters = {"after": response.json()["next"], "wait": "30"}
    waiting = asyncio.create_task(client.get("/changes", params=parameters, headers=headers))
    await wait_for_waiters(app, 1)
    # The caller does not see this one, and is not woken.
    await execute(database, INSERT_DOCUMENT, {"owner_id": USER_IDS["owner"]})
    own_parameters = {"after": await find_end(client), "wait": "30"}
    admin = asyncio.create_task(client.get("/changes", params=own_parameters))
    await execute(database, INSERT_DOCUMENT, {"owner_id": USER_IDS["admin"]})
    assert [item["entity"] for item in (await admin).json()["items"]] == ["documents"]
    assert not waiting.done()
    author = await make_author(client)
    [item] = (await waiting).json()["items"]
    assert item["id"] == author["id"]


async def test_waiting_requests_share_one_connection_to_the_database(database_url: str) -> None:
    # At most eight requests may wait for the connection at a time.
    settings = make_settings(database_url, db_pool_size=1)
    async with open_client(settings) as client:
        after = await find_end(client)
        tasks = [asyncio.create_task(read_feed(client, after, wait="30")) for _ in range(40)]
        await wait_for_waiters(client._transport.app, 40)  # type: ignore[attr-defined]
        author = await make_author(client)
        for feed in await asyncio.gather(*tasks):
            assert [item["id"] for item in feed["items"]] == [author["id"]]


async def test_request_without_a_change_ends_with_a_cursor(client: AsyncClient) -> None:
    feed = await read_feed(client, await find_end(client), wait="1")
    assert feed["items"] == []
    assert (await read_feed(client, feed["next"]))["items"] == []


async def test_number_of_waiting_requests_is_limited(client: AsyncClient, app: FastAPI) -> None:
    watcher = get_resources(app).change_watcher
    after = await find_end(client)
    with ExitStack() as stack:
        for _ in range(MAX_WAITING_REQUESTS):
            stack.enter_context(watcher.reserve(Caller()))
        response = await client.get("/changes", params={"after": after, "wait": "30"})
        check_problem(response, 503, "overloaded")
        assert response.headers["retry-after"]
        assert (await read_feed(client, after))["items"] == []


async def test_shutdown_and_disconnect_end_waiting_requests(database_url: str) -> None:
    metrics_port = find_free_port()

    async def count_requests() -> float:
        return (await scrape_metrics(metrics_port))["http_requests_in_flight"]

    async with (
        running_server(
            DATABASE_URL=database_url, ANONYMOUS_ACCESS="full", METRICS_PORT=metrics_port
        ) as (process, origin),
        AsyncClient(base_url=origin, timeout=60) as client,
    ):
        after = await find_end(client)
        waiting = asyncio.create_task(read_feed(client, after, wait="30"))
        async with tcp_connection(origin) as (_, writer):
            head = f"GET /changes?wait=30&after={after} HTTP/1.1\r\nHost: test\r\n\r\n"
            writer.write(head.encode())

            async def are_both_waiting() -> bool:
                return await count_requests() == 2

            await poll_until(are_both_waiting)
            # A client that only closes its direction of the connection may still read a response.
            reset = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, reset)
            writer.transport.abort()

            async def has_one_ended() -> bool:
                return await count_requests() == 1

            await poll_until(has_one_ended)
        process.terminate()
        assert (await waiting)["items"] == []
        await wait_for_exit(process)
