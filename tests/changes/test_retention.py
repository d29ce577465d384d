"""Old changes are deleted, and cursors that would miss them expire. So they do after a restore."""

import asyncpg
from httpx import AsyncClient

from app.changes.cursors import Position, seal_cursor
from app.changes.visibility import Visibility
from app.core.access import Principal
from app.core.db import Database
from tests.support.change_feed import (
    AGE_CHANGES,
    SELECT_EPOCH,
    find_end,
    list_changes,
    read_feed,
    sweep,
)
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.rows import execute, select_values

CREATED = ("authors", "created", 1)


async def expect_expired(client: AsyncClient, after: str) -> None:
    response = await client.get("/changes", params={"after": after})
    check_problem(response, 410, "cursor-expired")


async def test_cursor_before_deleted_changes_expires_and_later_ones_do_not(
    client: AsyncClient, database: Database
) -> None:
    before = await find_end(client)
    await make_author(client)
    between = await find_end(client)
    await execute(database, AGE_CHANGES)
    await make_author(client)
    assert await sweep(database) == "deleted 1 changes"
    await expect_expired(client, before)
    # Nothing is missing after this cursor, although it is older than the changes that are kept.
    assert await list_changes(client, between) == [CREATED]
    assert await list_changes(client) == [CREATED]


async def test_cursor_of_an_idle_feed_does_not_expire(
    client: AsyncClient, database: Database
) -> None:
    await make_author(client)
    after = (await read_feed(client))["next"]
    await execute(database, AGE_CHANGES)
    assert await sweep(database) == "deleted 1 changes"
    assert await sweep(database) == "deleted 0 changes"
    assert await list_changes(client, after) == []


async def test_open_transaction_that_is_older_than_the_retention_is_not_lost(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await make_author(client)
    after = await find_end(client)
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute(
        "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), 'Slow')"
    )
    await make_author(client)
    await execute(database, AGE_CHANGES)
    assert await sweep(database) == "deleted 1 changes"
    assert await list_changes(client, after) == []
    await transaction.commit()
    assert await list_changes(client, after) == [CREATED, CREATED]


async def test_restored_feed_is_unavailable_until_the_worker_starts_it_again(
    client: AsyncClient, database: Database
) -> None:
    # In another cluster, the numbers of transactions may be lower than those of the dump.
    await make_author(client)
    after = await find_end(client)
    await execute(database, "UPDATE changes SET xid = xid + 1000000000")
    await execute(database, "UPDATE change_feed SET home = 'another cluster'")
    check_problem(await client.get("/changes"), 503, "unavailable")
    assert await sweep(database) == "started the feed of another database again, deleted 1 changes"
    await expect_expired(client, after)
    after = await find_end(client)
    await make_author(client)
    assert await list_changes(client, after) == [CREATED]
    assert await list_changes(client) == [CREATED]


async def test_cursor_of_transactions_that_the_server_has_lost_is_expired(
    client: AsyncClient, database: Database
) -> None:
    [epoch] = await select_values(database, SELECT_EPOCH)
    cursor_key = Visibility.of(Principal("full")).derive_cursor_key(epoch)
    await expect_expired(client, seal_cursor(Position(2**60), cursor_key))
