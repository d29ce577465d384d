"""Tests of `POST /books/deletions` and others, which delete all rows with some ids, or none."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.db import _dependents as dependents
from app.core.errors import InvalidRequest
from app.users.repository import UserRepository
from tests.support.database_activity import (
    COUNT_WAITING_FOR_LOCK,
    start_until_blocked,
    wait_for_query_result,
)
from tests.support.entities import ENTITIES
from tests.support.entity_case import UNKNOWN_ID, EntityCase
from tests.support.factories import make_author, make_book
from tests.support.idempotent_requests import REPLAYED_HEADER
from tests.support.problems import check_problem, field_error_locations
from tests.support.requests import create_row
from tests.support.responses import get_json
from tests.support.rows import execute, select_values

OTHER_UNKNOWN_ID = "01890000-0000-7000-8000-00000000fffe"
every_deletion = pytest.mark.parametrize(
    "case", [case for case in ENTITIES if case.deletes_many], ids=lambda case: case.plural
)


@pytest.fixture
async def locking_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second connection, whose transaction holds locks while the other one looks at them."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def delete(client: AsyncClient, path: str, ids: Any, **request: Any) -> Response:
    return await client.post(f"{path}/deletions", json={"ids": ids}, **request)


async def list_ids(client: AsyncClient, path: str) -> list[str]:
    return [row["id"] for row in (await get_json(client, f"{path}?size=100"))["items"]]


@every_deletion
async def test_all_rows_with_the_ids_are_deleted_and_others_stay(
    client: AsyncClient, case: EntityCase
) -> None:
    ids = [(await create_row(client, case))["id"] for _ in range(4)]
    response = await delete(client, case.path, [ids[2], ids[0], ids[3]])
    assert (response.status_code, response.json()) == (200, {"deleted": 3})
    assert await list_ids(client, case.path) == [ids[1]]


@every_deletion
async def test_unknown_ids_return_422_with_pointers_and_nothing_is_deleted(
    client: AsyncClient, case: EntityCase
) -> None:
    row_id = (await create_row(client, case))["id"]
    response = await delete(client, case.path, [UNKNOWN_ID, row_id, OTHER_UNKNOWN_ID])
    assert field_error_locations(response) == [{"pointer": "/ids/0"}, {"pointer": "/ids/2"}]
    error = response.json()["errors"][0]
    assert error["code"] == f"{case.singular}_not_found"
    assert await list_ids(client, case.path) == [row_id]


@every_deletion
async def test_repeated_id_returns_422_with_pointer_and_nothing_is_deleted(
    client: AsyncClient, case: EntityCase
) -> None:
    row_id = (await create_row(client, case))["id"]
    # The same id, because the case of hexadecimal digits does not matter.
    response = await delete(client, case.path, [row_id, row_id.upper()])
    assert field_error_locations(response) == [{"pointer": "/ids/1"}]
    assert response.json()["errors"][0]["code"] == "repeated_id"
    assert await list_ids(client, case.path) == [row_id]


async def test_deletion_accepts_1000_indented_ids_and_refuses_0_and_1001(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "INSERT INTO authors (id, name) SELECT gen_random_uuid(), 'x' FROM generate_series(1, 1001)"
    )
    rows = await outside_connection.fetch("SELECT id::text FROM authors")
    ids = [row["id"] for row in rows]
    for refused_ids in ([], ids):
        response = await delete(client, "/authors", refused_ids)
        assert field_error_locations(response) == [{"pointer": "/ids"}]
    body = json.dumps({"ids": ids[:1000]}, indent=4)
    headers = {"Content-Type": "application/json"}
    response = await client.post("/authors/deletions", content=body, headers=headers)
    assert response.json() == {"deleted": 1000}
    assert await list_ids(client, "/authors") == [ids[1000]]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a-transaction"}])
async def test_authors_with_books_return_409_with_their_positions_and_none_is_deleted(
    client: AsyncClient, headers: dict[str, str]
) -> None:
    author_id = (await make_author(client))["id"]
    author_with_book_id = (await make_book(client))["author_id"]
    ids = [author_id, author_with_book_id]
    response = await delete(client, "/authors", ids, headers=headers)
    problem = check_problem(response, 409, "author-has-books")
    assert problem["detail"].endswith("while books refer to it: /ids/1")
    assert sorted(await list_ids(client, "/authors")) == sorted(ids)


async def test_retry_with_idempotency_key_returns_the_stored_count(client: AsyncClient) -> None:
    ids = [(await make_book(client))["id"] for _ in range(2)]
    headers = {"Idempotency-Key": "a-key"}
    responses = [await delete(client, "/books", ids, headers=headers) for _ in range(2)]
    assert [response.json() for response in responses] == [{"deleted": 2}] * 2
    assert responses[1].headers[REPLAYED_HEADER] == "true"


async def test_deletions_with_ids_in_other_orders_lock_rows_in_the_same_order(
    client: AsyncClient,
    outside_connection: asyncpg.Connection,
    locking_connection: asyncpg.Connection,
) -> None:
    # The last row has the lowest id, so the order of the ids differs from that on disk.
    low_id, high_id = UNKNOWN_ID, OTHER_UNKNOWN_ID
    for row_id in (high_id, low_id):
        await outside_connection.execute("INSERT INTO authors (id, name) VALUES ($1, 'x')", row_id)
    async with locking_connection.transaction():
        await locking_connection.execute("SELECT FROM authors WHERE id = $1 FOR UPDATE", low_id)
        deletions = [
            asyncio.create_task(delete(client, "/authors", ids))
            for ids in ([high_id, low_id], [low_id, high_id])
        ]
        await wait_for_query_result(2, outside_connection, COUNT_WAITING_FOR_LOCK)
        # Neither deletion has locked the other row.
        lock_without_waiting = "SELECT 1 FROM authors WHERE id = $1 FOR UPDATE NOWAIT"
        assert await outside_connection.fetchval(lock_without_waiting, high_id)
    responses = await asyncio.gather(*deletions)
    assert sorted(response.status_code for response in responses) == [200, 422]


async def test_deletion_also_deletes_row_that_was_changed_while_it_waited(
    client: AsyncClient,
    outside_connection: asyncpg.Connection,
    locking_connection: asyncpg.Connection,
) -> None:
    ids = [(await make_author(client))["id"] for _ in range(3)]
    async with locking_connection.transaction():
        await locking_connection.execute("UPDATE authors SET name = 'y' WHERE id = $1", ids[1])
        deletion = await start_until_blocked(delete(client, "/authors", ids), outside_connection)
    assert (await deletion).json() == {"deleted": 3}
    assert await list_ids(client, "/authors") == []


async def test_rows_outside_the_scope_are_unknown_and_many_dependent_rows_are_deleted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependents, "MAX_CASCADED_ROWS", 2)
    insert_users = (
        "INSERT INTO users (id, name, email, password_hash) OVERRIDING SYSTEM VALUE "
        "SELECT n, 'x', n || '@example.com', 'x' FROM generate_series(5001, 5003) n"
    )
    insert_documents = (
        "INSERT INTO documents (id, name, owner_id) "
        "SELECT gen_random_uuid(), 'x', 5001 + n % 2 FROM generate_series(1, 5) n"
    )
    for statement in (insert_users, insert_documents):
        await execute(database, statement)
    with pytest.raises(InvalidRequest):
        await UserRepository(database.writes, {"id": [5001]}).delete_many([5001, 5002])
    await UserRepository(database.writes).delete_many([5002, 5001])
    assert await select_values(database, "SELECT id FROM users") == [5003]
    assert await select_values(database, "SELECT count(*) FROM documents") == [0]
