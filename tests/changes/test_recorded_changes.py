"""The change feed records the writes of all programs, in an order without gaps."""

import asyncio
import random
from uuid import UUID, uuid4

import asyncpg
from httpx import AsyncClient

from app.changes.visibility import READ_PERMISSIONS
from app.core.db import Database, Entity
from app.tables import TABLES
from tests.support.change_feed import find_end, list_changed_ids, list_changes, read_feed
from tests.support.factories import Json, make_author, make_book, make_document, make_user
from tests.support.rows import execute, select_values

INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES ($1, 'Ada')"
SELECT_RECORDED_TABLES = """
SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'record_updated'
"""


async def test_every_entity_is_recorded_and_has_a_permission(database: Database) -> None:
    entities = {model.__tablename__ for model in TABLES if issubclass(model, Entity)}
    # Tokens belong to logins. Nobody keeps a copy of them.
    entities.remove("tokens")
    assert set(READ_PERMISSIONS) == entities
    assert set(await select_values(database, SELECT_RECORDED_TABLES)) == entities


async def test_create_update_and_delete_of_each_entity_are_listed(client: AsyncClient) -> None:
    after = await find_end(client)
    author = await make_author(client)
    resources = {
        "books": await make_book(client, author_id=author["id"]),
        "documents": await make_document(client),
        "users": await make_user(client),
        "authors": author,
    }
    for entity, resource in resources.items():
        path = f"/{entity}/{resource['id']}"
        arguments: Json = {"json": {"title" if entity == "books" else "name": "Changed"}}
        if entity == "documents":
            arguments = {"files": {"name": (None, "Changed")}}
        assert (await client.patch(path, **arguments)).status_code == 200
        assert (await client.delete(path)).status_code == 204
    assert sorted(await list_changes(client, after)) == sorted(
        (entity, kind, version)
        for entity in resources
        for version, kind in enumerate(("created", "updated", "deleted"), 1)
    )
    ids = {str(resource["id"]) for resource in resources.values()}
    assert set(await list_changed_ids(client, after)) == ids


async def test_change_has_the_time_of_the_row(client: AsyncClient) -> None:
    author = await make_author(client)
    [item] = (await read_feed(client))["items"]
    assert item == {
        "entity": "authors",
        "id": author["id"],
        "version": 1,
        "kind": "created",
        "time": author["created_at"],
    }


async def test_batch_and_deletion_of_several_rows_list_each_row(client: AsyncClient) -> None:
    author = await make_author(client)
    after = await find_end(client)
    items = [{"title": f"Book {n}", "author_id": author["id"]} for n in range(5)]
    batch = await client.post("/books/batch", json={"items": items})
    ids = [book["id"] for book in batch.json()["items"]]
    assert (await client.post("/books/deletions", json={"ids": ids})).status_code == 200
    assert await list_changes(client, after) == [
        *[("books", "created", 1)] * 5,
        *[("books", "deleted", 2)] * 5,
    ]


async def test_copy_and_cascades_are_listed(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await execute(
        database, "INSERT INTO users (name, email, password_hash) VALUES ('a','a@b.c','x')"
    )
    [user_id] = await select_values(database, "SELECT id FROM users")
    after = await find_end(client)
    records = [(uuid4(), f"Document {n}", user_id) for n in range(3)]
    await outside_connection.copy_records_to_table(
        "documents", records=records, columns=["id", "name", "owner_id"]
    )
    await outside_connection.execute("DELETE FROM users")
    assert sorted(await list_changes(client, after)) == [
        *[("documents", "created", 1)] * 3,
        *[("documents", "deleted", 2)] * 3,
        ("users", "deleted", 2),
    ]


async def test_write_that_is_rolled_back_or_changes_nothing_is_not_listed(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    author = await make_author(client)
    after = await find_end(client)
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute(INSERT_AUTHOR, uuid4())
    await transaction.rollback()
    path = f"/authors/{author['id']}"
    stale = {"If-Match": '"7"'}
    assert (await client.patch(path, json={"name": "X"}, headers=stale)).status_code == 412
    assert await list_changes(client, after) == []


async def test_transaction_that_began_earlier_and_commits_later_is_not_missed(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    after = await find_end(client)
    slow_id = uuid4()
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute(INSERT_AUTHOR, slow_id)
    fast = await make_author(client)
    # The reader does not go back, so the later transaction is hidden until the earlier one ends.
    feed = await read_feed(client, after)
    assert feed["items"] == []
    await transaction.commit()
    assert await list_changed_ids(client, feed["next"]) == [str(slow_id), fast["id"]]


async def test_reader_sees_each_change_once_however_transactions_overlap(
    client: AsyncClient, database_url: str
) -> None:
    choices = random.Random(0)
    after = await find_end(client)
    committed: list[UUID] = []
    seen: list[str] = []

    async def read() -> None:
        nonlocal after
        feed = await read_feed(client, after, size=str(choices.randint(1, 4)))
        after = feed["next"]
        seen.extend(item["id"] for item in feed["items"])

    connections = [await asyncpg.connect(database_url) for _ in range(4)]
    transactions: dict[int, asyncpg.transaction.Transaction] = {}
    written: dict[int, list[UUID]] = {}
    for _ in range(150):
        number = choices.randrange(len(connections))
        action = choices.choice(("write", "write", "commit", "roll back", "read"))
        if action == "read":
            await read()
        elif action == "write":
            if number not in transactions:
                transactions[number] = connections[number].transaction()
                await transactions[number].start()
                written[number] = []
            written[number].append(uuid4())
            await connections[number].execute(INSERT_AUTHOR, written[number][-1])
        elif number in transactions:
            transaction = transactions.pop(number)
            if action == "commit":
                await transaction.commit()
                committed += written[number]
            else:
                await transaction.rollback()
    await asyncio.gather(*(connection.close() for connection in connections))
    seen += await list_changed_ids(client, after)
    assert sorted(seen) == sorted(map(str, committed))
