"""Requests behind PgBouncer in transaction mode, with and without prepared statements."""

import asyncio
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from alembic.util import CommandError
from httpx import Response

from app.core.jobs import Job
from app.users.passwords import PasswordHasher
from tests.support.commands import invoke_command
from tests.support.databases import open_client, open_database
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book, make_user
from tests.support.idempotent_requests import AUTHOR_REQUEST, post_with_key
from tests.support.pgbouncer import SERVER_CONNECTIONS, needs_pgbouncer
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import TIMEOUT_SECONDS
from tests.support.responses import get_json
from tests.support.settings import make_settings
from tests.support.streamed_lists import read_json_lines
from tests.support.upgrades import upgrade_schema

pytestmark = [pytest.mark.private_database, needs_pgbouncer]

# Without the workers of the server itself, such as those of autovacuum.
COUNT_OTHER_CLIENTS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
ROUNDS, CONCURRENT_REQUESTS = 3, 20


async def test_requests_succeed_behind_transaction_pooler(pooled_url: str, pooler: str) -> None:
    async with open_client(make_settings(pooled_url, db_pooler=pooler)) as client:
        assert (await client.get("/readyz")).status_code == 200
        author = await make_author(client, name="Ursula")
        books = [await make_book(client, f"Book {n}", author["id"]) for n in range(5)]
        path = f"/books/{books[0]['id']}"
        assert await get_json(client, path) == books[0]
        list_path = f"/books?author_id={author['id']}&sort=title&size=3"
        first_page = await get_json(client, list_path)
        second_page = await get_json(client, f"{list_path}&cursor={first_page['next']}")
        titles = [book["title"] for book in first_page["items"] + second_page["items"]]
        assert titles == [f"Book {n}" for n in range(5)]
        changed = await client.patch(path, json={"title": "New"}, headers={"If-Match": '"1.1"'})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2.1"')
        stale = await client.patch(path, json={"title": "Old"}, headers={"If-Match": '"1.1"'})
        check_problem(stale, 412, "precondition-failed")
        assert (await client.delete(path)).status_code == 204
        check_problem(await client.get(path), 404, "not-found")


async def test_constraint_errors_name_their_cause_behind_transaction_pooler(
    pooled_url: str, pooler: str, password_hasher: PasswordHasher
) -> None:
    async with open_client(make_settings(pooled_url, db_pooler=pooler), password_hasher) as client:
        book, user = await make_book(client), await make_user(client, email=f"{pooler}@example.com")
        body = {"name": "Another", "email": user["email"].upper(), "password": "correct horse"}
        for _ in range(SERVER_CONNECTIONS + 1):  # failed requests leave connections usable
            orphan = await client.post("/books", json={"title": "Anon", "author_id": UNKNOWN_ID})
            assert field_error_locations(orphan) == [{"pointer": "/author_id"}]
            response = await client.delete(f"/authors/{book['author_id']}")
            check_problem(response, 409, "author-has-books")
            check_problem(await client.post("/users", json=body), 409, "email-taken")
        assert (await get_json(client, f"/books/{book['id']}")) == book


async def test_batches_and_streams_succeed_behind_transaction_pooler(
    pooled_url: str, pooler: str
) -> None:
    async with open_client(make_settings(pooled_url, db_pooler=pooler)) as client:
        author = (await make_author(client))["id"]
        books: list[Json] = []
        for _round in range(SERVER_CONNECTIONS + 1):
            items = [{"title": f"Book {n}", "author_id": author} for n in range(250)]
            response = await client.post("/books/batch", json={"items": items})
            assert response.status_code == 201
            books += response.json()["items"]
            assert await read_json_lines(client, f"/books?author_id={author}&q=book") == books


async def test_twenty_concurrent_requests_share_two_connections_of_pooler(
    pooled_url: str, pooler: str, direct_url: str
) -> None:
    settings = make_settings(
        pooled_url,
        db_pooler=pooler,
        db_pool_size=10,
        # On a busy machine, a request may wait long for one of the two connections.
        db_pool_timeout=TIMEOUT_SECONDS,
        request_timeout=2 * TIMEOUT_SECONDS,
    )

    async def send_requests(number: int) -> list[Response]:
        author = await client.post("/authors", json={"name": f"Author {number}"})
        path = author.headers["location"]
        body = {"title": f"Book {number}", "author_id": author.json()["id"]}
        return [
            author,
            await client.post("/books", json=body),
            await client.patch(path, json={"dob": "1929-10-21"}, headers={"If-Match": '"1"'}),
            await client.get("/authors?q=author&size=5"),
            await client.get(path),
        ]

    async with open_client(settings) as client:
        for round_ in range(ROUNDS):
            numbers = range(round_ * CONCURRENT_REQUESTS, (round_ + 1) * CONCURRENT_REQUESTS)
            for responses in await asyncio.gather(*map(send_requests, numbers)):
                assert [response.status_code for response in responses] == [201, 201, 200, 200, 200]
    connection_to_server = await asyncpg.connect(direct_url)
    assert await connection_to_server.fetchval(COUNT_OTHER_CLIENTS) == SERVER_CONNECTIONS
    await connection_to_server.close()


async def test_import_and_job_succeed_behind_transaction_pooler(
    pooled_url: str, pooler: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    for title in ("Iliad", "Odyssey"):
        file.write_text(f"author,dob,title\nHomer,,{title} {pooler}\n")
        code, output, _ = await invoke_command(
            "import", "books", str(file), DATABASE_URL=pooled_url, DB_POOLER=pooler
        )
        assert (code, output.partition(",")[0]) == (0, "Books added: 1")

    async def count_work(_: None) -> str:
        return "done"

    job = Job(pooler, timedelta(days=365), count_work)
    async with open_database(make_settings(pooled_url, db_pooler=pooler)) as database:
        outcomes = await asyncio.gather(*(job.run(database, None) for _ in range(5)))
    assert sorted(outcomes, key=str) == [None, None, None, None, "done"]


async def test_retry_with_key_is_replayed_behind_transaction_pooler(
    pooled_url: str, pooler: str
) -> None:
    async with open_client(make_settings(pooled_url, db_pooler=pooler)) as client:
        responses = [
            await post_with_key(client, "/authors", AUTHOR_REQUEST, pooler) for _ in range(3)
        ]
        assert {response.status_code for response in responses} == {201}
        assert len({response.json()["id"] for response in responses}) == 1


async def test_migration_refuses_transaction_pooler(pooled_url: str) -> None:
    with pytest.raises(CommandError, match="pooler that gives every transaction another"):
        await upgrade_schema(pooled_url)
