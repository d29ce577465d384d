"""Transactions of requests: a success means that all is committed, an error that nothing is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from app.core.db import Base, Database, TransactionSession
from app.core.errors import NotFound, ServiceError
from app.core.http import RequestSession, Router, Transaction, add_routers
from app.main import create_app
from tests.support.factories import Json
from tests.support.problems import check_problem
from tests.support.processes import running_server
from tests.support.resources import replace_resources
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

INSERT = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"


async def count_authors(outside_connection: asyncpg.Connection) -> int:
    count: int = await outside_connection.fetchval("SELECT count(*) FROM authors")
    return count


async def fail_at_commit(
    outside_connection: asyncpg.Connection, action: str, table: str = "authors"
) -> None:
    """Make the COMMIT of every transaction that inserts into a table execute a PL/pgSQL action."""
    await outside_connection.execute(
        f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {action}; RETURN NULL; END $$"
    )
    await outside_connection.execute(
        f"CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {table} "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )


# Actions during COMMIT, and the status and type of the problem that the client gets.
ERRORS_AT_COMMIT = {
    "RAISE EXCEPTION 'no' USING ERRCODE = '23514'": (422, "invalid-request"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '23505'": (409, "conflict"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '40001'": (409, "conflict"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '53100'": (503, "overloaded"),
    "RAISE EXCEPTION 'no'": (500, "internal-error"),
    "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60)": (503, "unavailable"),
}


@pytest.fixture
async def app_with_two(database: Database) -> FastAPI:
    """The service with an endpoint POST /two that inserts two authors in one transaction."""
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)

    router = Router(tags=["transactions"])

    @router.post("/two", permission="register", status_code=201)
    async def add_two(session: Transaction, *, fail: str = "") -> dict[str, str]:
        await session.execute(text(INSERT), {"name": "one"})
        await session.execute(text(INSERT), {"name": "two"})
        if fail == "ours":
            raise NotFound
        if fail:
            raise RuntimeError(fail)
        return {"status": "two"}

    add_routers(app, [router], http_fast_path=True)
    return app


@asynccontextmanager
async def open_client(app: Any) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def client_with_two(app_with_two: FastAPI) -> AsyncIterator[AsyncClient]:
    async with open_client(app_with_two) as client:
        yield client


@pytest.mark.parametrize(("action", "expected"), ERRORS_AT_COMMIT.items())
async def test_autocommit_request_returns_error_when_commit_fails(
    client: AsyncClient,
    outside_connection: asyncpg.Connection,
    action: str,
    expected: tuple[int, str],
) -> None:
    await fail_at_commit(outside_connection, action)
    check_problem(await client.post("/authors", json={"name": "Ursula"}), *expected)
    assert await count_authors(outside_connection) == 0


@pytest.mark.parametrize(("action", "expected"), ERRORS_AT_COMMIT.items())
async def test_transaction_is_rolled_back_when_commit_fails(
    client_with_two: AsyncClient,
    outside_connection: asyncpg.Connection,
    action: str,
    expected: tuple[int, str],
) -> None:
    await fail_at_commit(outside_connection, action)
    check_problem(await client_with_two.post("/two"), *expected)
    assert await count_authors(outside_connection) == 0


@pytest.mark.parametrize("path", ["/authors", "/books/batch", "/two"])
@pytest.mark.parametrize(("action", "expected"), ERRORS_AT_COMMIT.items())
async def test_request_with_idempotency_key_and_its_retry_fail_when_commit_fails(
    client_with_two: AsyncClient,
    outside_connection: asyncpg.Connection,
    path: str,
    action: str,
    expected: tuple[int, str],
) -> None:
    author = (await client_with_two.post("/authors", json={"name": "Ursula"})).json()
    await fail_at_commit(
        outside_connection, action, "books" if path == "/books/batch" else "authors"
    )
    book = {"title": "Kindred", "author_id": author["id"]}
    body: Json = {"items": [book]} if path == "/books/batch" else {"name": "Octavia"}
    headers = {"Idempotency-Key": "key"}
    check_problem(await client_with_two.post(path, headers=headers, json=body), *expected)
    # The retry may be a replay, which has the request id of the first response.
    retry = await client_with_two.post(path, headers=headers, json=body)
    assert retry.status_code == expected[0]
    assert await count_authors(outside_connection) == 1
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 0


@pytest.mark.parametrize("fail", ["ours", "x"])
async def test_request_with_idempotency_key_is_rolled_back_when_endpoint_raises(
    client_with_two: AsyncClient, outside_connection: asyncpg.Connection, fail: str
) -> None:
    headers = {"Idempotency-Key": "key"}
    for _ in range(2):
        response = await client_with_two.post("/two", params={"fail": fail}, headers=headers)
        assert response.status_code == (404 if fail == "ours" else 500)
    assert await count_authors(outside_connection) == 0


async def test_retry_with_idempotency_key_replays_response_of_committed_transaction(
    client_with_two: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "key"}
    first, retry = [await client_with_two.post("/two", headers=headers) for _ in range(2)]
    assert (first.status_code, retry.status_code) == (201, 201)
    assert retry.headers["idempotency-replayed"] == "true"
    assert await count_authors(outside_connection) == 2


async def test_retry_with_idempotency_key_returns_422_when_query_differs(
    client_with_two: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "key"}
    assert (await client_with_two.post("/two", headers=headers)).status_code == 201
    response = await client_with_two.post("/two", params={"fail": "x"}, headers=headers)
    check_problem(response, 422, "idempotency-key-reused")
    assert await count_authors(outside_connection) == 2


async def test_request_with_idempotency_key_has_one_transaction_for_all_sessions(
    app_with_two: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    router = Router(tags=["transactions"])

    @router.post("/both", permission="register", status_code=201)
    async def both(session: RequestSession, transaction: Transaction) -> dict[str, bool]:
        await session.execute(text(INSERT), {"name": "one"})
        await transaction.execute(text(INSERT), {"name": "two"})
        return {"same": session is transaction}

    add_routers(app_with_two, [router], http_fast_path=True)
    async with open_client(app_with_two) as client:
        for headers in ({}, {"Idempotency-Key": "key"}):
            response = await client.post("/both", headers=headers)
            assert (response.status_code, response.json()) == (201, {"same": True})
    assert await count_authors(outside_connection) == 4


async def test_transaction_is_retried_once_after_deadlock(
    app_with_two: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("CREATE SEQUENCE tries")
    await outside_connection.execute(
        "CREATE FUNCTION fail_once() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') = 1 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40P01'; END IF;"
        " RETURN 1; END $$"
    )
    router = Router(tags=["transactions"])

    @router.post("/deadlock", permission="register", status_code=201)
    async def deadlock(session: Transaction) -> None:
        await session.execute(text(INSERT), {"name": "one"})
        await session.execute(text("SELECT fail_once()"))

    add_routers(app_with_two, [router], http_fast_path=True)
    async with open_client(app_with_two) as client:
        assert (await client.post("/deadlock")).status_code == 201
    assert await count_authors(outside_connection) == 1


async def test_connections_are_usable_after_failed_commits(
    client_with_two: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await fail_at_commit(outside_connection, "RAISE EXCEPTION 'no'")
    for _ in range(30):  # more often than the pool has connections
        assert (await client_with_two.post("/two")).status_code == 500
    await outside_connection.execute("DROP TRIGGER at_commit ON authors")
    assert (await client_with_two.post("/two")).status_code == 201
    assert await count_authors(outside_connection) == 2


async def test_transaction_commits_all_statements_when_endpoint_returns(
    client_with_two: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    response = await client_with_two.post("/two")
    assert (response.status_code, response.json()) == (201, {"status": "two"})
    assert await count_authors(outside_connection) == 2


@pytest.mark.parametrize(
    ("fail", "expected"), [("ours", (404, "not-found")), ("x", (500, "internal-error"))]
)
async def test_transaction_is_rolled_back_when_endpoint_raises(
    client_with_two: AsyncClient,
    outside_connection: asyncpg.Connection,
    fail: str,
    expected: tuple[int, str],
) -> None:
    check_problem(await client_with_two.post("/two", params={"fail": fail}), *expected)
    assert await count_authors(outside_connection) == 0


async def test_transaction_is_rolled_back_when_request_is_cancelled(
    app_with_two: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    has_begun = asyncio.Event()

    router = Router(tags=["transactions"])

    @router.post("/stuck", permission="public")
    async def stuck(session: Transaction) -> None:
        await session.execute(text(INSERT), {"name": "stuck"})
        has_begun.set()
        await asyncio.Event().wait()

    add_routers(app_with_two, [router], http_fast_path=True)
    async with open_client(app_with_two) as client:
        request = asyncio.create_task(client.post("/stuck"))
        await has_begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.post("/authors", json={"name": "next"})).status_code == 201
    assert await count_authors(outside_connection) == 1


@pytest.mark.parametrize("path", ["/authors", "/two"])
async def test_response_starts_after_commit(
    app_with_two: FastAPI, outside_connection: asyncpg.Connection, path: str
) -> None:
    visible_authors: list[int] = []

    async def count_when_response_starts(scope: Any, receive: Any, send: Any) -> None:
        async def count_and_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                visible_authors.append(await count_authors(outside_connection))
            await send(message)

        await app_with_two(scope, receive, count_and_send)

    async with open_client(count_when_response_starts) as client:
        response = await client.post(path, json={"name": "Ursula"})
    assert response.status_code == 201
    assert visible_authors == [1 if path == "/authors" else 2]


async def test_created_row_is_visible_to_others_when_server_responds(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    select_name = "SELECT name FROM authors WHERE id = $1"
    async with (
        running_server(DATABASE_URL=database_url) as (_, origin),
        AsyncClient(base_url=origin) as client,
    ):
        for number in range(200):
            response = await client.post("/authors", json={"name": f"{number}"})
            assert response.status_code == 201
            assert (
                await outside_connection.fetchval(select_name, response.json()["id"]) == f"{number}"
            )


DIVIDE_BY_ZERO = text("SELECT 1 / 0")


async def divide_by_zero(session: TransactionSession) -> None:
    await session.execute(DIVIDE_BY_ZERO)


async def divide_by_zero_in_orm(session: TransactionSession) -> None:
    await session.orm.execute(DIVIDE_BY_ZERO)


async def copy_nulls(session: TransactionSession) -> None:
    table = Base.metadata.tables["job_runs"]
    await session.copy_records(table, [(None,) * len(table.columns)])


@pytest.mark.parametrize("fail", [divide_by_zero, divide_by_zero_in_orm, copy_nulls])
async def test_transaction_returns_500_when_error_of_statement_is_caught(
    app_with_two: FastAPI,
    database: Database,
    outside_connection: asyncpg.Connection,
    fail: Callable[[TransactionSession], Awaitable[None]],
) -> None:
    callbacks_run: list[str] = []

    async def record_callback() -> None:
        callbacks_run.append("callback")

    router = Router(tags=["transactions"])

    @router.post("/going-on", permission="register")
    async def catch_and_continue(session: Transaction) -> dict[str, str]:
        session.after_commit(record_callback)
        await session.execute(text(INSERT), {"name": "one"})
        with suppress(Exception):
            await fail(session)
        return {"status": "stored"}

    add_routers(app_with_two, [router], http_fast_path=True)
    async with open_client(app_with_two) as client:
        for headers in ({}, {"Idempotency-Key": "key"}):
            response = await client.post("/going-on", headers=headers)
            check_problem(response, 500, "internal-error")
        # The connection has returned to the pool and can be used again.
        assert (await client.post("/two")).status_code == 201
    await database.wait_for_callbacks()
    assert (await count_authors(outside_connection), callbacks_run) == (2, [])


async def test_transaction_is_committed_when_error_of_savepoint_is_caught(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    async with database.transaction() as session:
        await session.execute(text(INSERT), {"name": "one"})
        with suppress(ServiceError):
            async with session.savepoint():
                await session.execute(DIVIDE_BY_ZERO)
    assert await count_authors(outside_connection) == 1


async def test_session_raises_error_when_used_after_its_transaction(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text(INSERT), {"name": "one"})
    with pytest.raises(InvalidRequestError, match="closed"):
        await session.execute(text(INSERT), {"name": "two"})
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
