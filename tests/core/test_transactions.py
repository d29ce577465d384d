"""Transactions of requests.

A request commits all of its writes before it returns a success, and none if it returns an error.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from app.core.db import Base, Database, TransactionSession
from app.core.errors import NotFound, ServiceError
from app.core.http import RequestSession, Router, Transaction, add_routers
from app.main import create_app
from tests.support.app_clients import open_client
from tests.support.factories import Json
from tests.support.problems import check_problem
from tests.support.processes import running_server
from tests.support.resources import replace_resources
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"


async def count_authors(outside_connection: asyncpg.Connection) -> int:
    count: int = await outside_connection.fetchval("SELECT count(*) FROM authors")
    return count


async def fail_at_commit(
    outside_connection: asyncpg.Connection, action: str, table: str = "authors"
) -> None:
    """Make the COMMIT of every transaction that inserts into a table execute `action`.

    `action` is a statement of PL/pgSQL, such as `RAISE EXCEPTION 'no'`.
    """
    await outside_connection.execute(
        f"CREATE FUNCTION run_action() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {action}; RETURN NULL; END $$"
    )
    await outside_connection.execute(
        f"CREATE CONSTRAINT TRIGGER run_action AFTER INSERT ON {table} "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION run_action()"
    )


# Actions of `fail_at_commit`, and the status and problem type of the response.
ERRORS_AT_COMMIT = {
    "RAISE EXCEPTION 'no' USING ERRCODE = '23514'": (422, "invalid-request"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '23505'": (409, "conflict"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '40001'": (409, "conflict"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '53100'": (503, "overloaded"),
    "RAISE EXCEPTION 'no'": (500, "internal-error"),
    "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60)": (503, "unavailable"),
}


@pytest.fixture
async def two_authors_app(database: Database) -> FastAPI:
    """The service with an endpoint `POST /two-authors`, which inserts two authors.

    The endpoint then raises an error if the query parameter `error` is not empty: `NotFound` for
    "not found", and `RuntimeError` for any other text.
    """
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)

    router = Router(tags=["transactions"])

    @router.post("/two-authors", permission="register", status_code=201)
    async def insert_two_authors(session: Transaction, *, error: str = "") -> dict[str, str]:
        await session.execute(text(INSERT_AUTHOR), {"name": "one"})
        await session.execute(text(INSERT_AUTHOR), {"name": "two"})
        if error == "not found":
            raise NotFound
        if error:
            raise RuntimeError(error)
        return {"status": "created"}

    add_routers(app, [router], http_fast_path=True)
    return app


@pytest.fixture
async def two_authors_client(two_authors_app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with open_client(two_authors_app) as client:
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
    two_authors_client: AsyncClient,
    outside_connection: asyncpg.Connection,
    action: str,
    expected: tuple[int, str],
) -> None:
    await fail_at_commit(outside_connection, action)
    check_problem(await two_authors_client.post("/two-authors"), *expected)
    assert await count_authors(outside_connection) == 0


@pytest.mark.parametrize("path", ["/authors", "/books/batch", "/two-authors"])
@pytest.mark.parametrize(("action", "expected"), ERRORS_AT_COMMIT.items())
async def test_request_with_idempotency_key_and_its_retry_fail_when_commit_fails(
    two_authors_client: AsyncClient,
    outside_connection: asyncpg.Connection,
    path: str,
    action: str,
    expected: tuple[int, str],
) -> None:
    author = (await two_authors_client.post("/authors", json={"name": "Ursula"})).json()
    await fail_at_commit(
        outside_connection, action, "books" if path == "/books/batch" else "authors"
    )
    book = {"title": "Kindred", "author_id": author["id"]}
    body: Json = {"items": [book]} if path == "/books/batch" else {"name": "Octavia"}
    headers = {"Idempotency-Key": "key"}
    check_problem(await two_authors_client.post(path, headers=headers, json=body), *expected)
    # Do not use `check_problem`: the body of a replay has the request id of the first request, and
    # its header has that of the retry.
    retry = await two_authors_client.post(path, headers=headers, json=body)
    assert retry.status_code == expected[0]
    assert await count_authors(outside_connection) == 1
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 0


@pytest.mark.parametrize(("error", "status"), [("not found", 404), ("unexpected", 500)])
async def test_request_with_idempotency_key_is_rolled_back_when_endpoint_raises(
    two_authors_client: AsyncClient, outside_connection: asyncpg.Connection, error: str, status: int
) -> None:
    headers = {"Idempotency-Key": "key"}
    for _ in range(2):
        response = await two_authors_client.post(
            "/two-authors", params={"error": error}, headers=headers
        )
        assert response.status_code == status
    assert await count_authors(outside_connection) == 0


async def test_retry_with_idempotency_key_replays_response_of_committed_transaction(
    two_authors_client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "key"}
    first, retry = [
        await two_authors_client.post("/two-authors", headers=headers) for _ in range(2)
    ]
    assert (first.status_code, retry.status_code) == (201, 201)
    assert retry.headers["idempotency-replayed"] == "true"
    assert await count_authors(outside_connection) == 2


async def test_retry_with_idempotency_key_returns_422_when_query_differs(
    two_authors_client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "key"}
    assert (await two_authors_client.post("/two-authors", headers=headers)).status_code == 201
    response = await two_authors_client.post(
        "/two-authors", params={"error": "unexpected"}, headers=headers
    )
    check_problem(response, 422, "idempotency-key-reused")
    assert await count_authors(outside_connection) == 2


async def test_all_sessions_of_request_share_one_transaction_with_and_without_idempotency_key(
    two_authors_app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    router = Router(tags=["transactions"])

    @router.post("/two-sessions", permission="register", status_code=201)
    async def use_two_sessions(
        session: RequestSession, transaction: Transaction
    ) -> dict[str, bool]:
        await session.execute(text(INSERT_AUTHOR), {"name": "one"})
        await transaction.execute(text(INSERT_AUTHOR), {"name": "two"})
        return {"is_same_session": session is transaction}

    add_routers(two_authors_app, [router], http_fast_path=True)
    async with open_client(two_authors_app) as client:
        for headers in ({}, {"Idempotency-Key": "key"}):
            response = await client.post("/two-sessions", headers=headers)
            assert (response.status_code, response.json()) == (201, {"is_same_session": True})
    assert await count_authors(outside_connection) == 4


async def call_endpoint_with_deadlocks(
    app: FastAPI, connection: asyncpg.Connection, deadlocks: int
) -> tuple[int, int]:
    """Call an endpoint whose first transactions end with a deadlock.

    Returns the status of the response and the number of transactions.
    """
    await connection.execute("CREATE SEQUENCE attempts")
    await connection.execute(
        "CREATE FUNCTION fail() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('attempts') <= {deadlocks} THEN"
        " RAISE EXCEPTION 'no' USING ERRCODE = '40P01'; END IF;"
        " RETURN 1; END $$"
    )
    router = Router(tags=["transactions"])

    @router.post("/deadlock", permission="register", status_code=201)
    async def fail_with_deadlock(session: Transaction) -> None:
        await session.execute(text(INSERT_AUTHOR), {"name": "one"})
        await session.execute(text("SELECT fail()"))

    add_routers(app, [router], http_fast_path=True)
    async with open_client(app) as client:
        response = await client.post("/deadlock")
    attempts = await connection.fetchval("SELECT last_value FROM attempts")
    return response.status_code, attempts


async def test_transaction_is_retried_several_times_after_deadlocks(
    two_authors_app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    result = await call_endpoint_with_deadlocks(two_authors_app, outside_connection, deadlocks=3)
    assert result == (201, 4)
    assert await count_authors(outside_connection) == 1


async def test_transaction_is_not_retried_forever_after_deadlocks(
    two_authors_app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    result = await call_endpoint_with_deadlocks(two_authors_app, outside_connection, deadlocks=100)
    assert result == (409, 6)
    assert await count_authors(outside_connection) == 0


async def test_connections_can_be_used_after_commits_have_failed(
    two_authors_client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await fail_at_commit(outside_connection, "RAISE EXCEPTION 'no'")
    # The pool has fewer connections than this.
    for _ in range(30):
        assert (await two_authors_client.post("/two-authors")).status_code == 500
    await outside_connection.execute("DROP TRIGGER run_action ON authors")
    assert (await two_authors_client.post("/two-authors")).status_code == 201
    assert await count_authors(outside_connection) == 2


async def test_transaction_commits_all_statements_when_endpoint_returns(
    two_authors_client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    response = await two_authors_client.post("/two-authors")
    assert (response.status_code, response.json()) == (201, {"status": "created"})
    assert await count_authors(outside_connection) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [("not found", (404, "not-found")), ("unexpected", (500, "internal-error"))],
)
async def test_transaction_is_rolled_back_when_endpoint_raises(
    two_authors_client: AsyncClient,
    outside_connection: asyncpg.Connection,
    error: str,
    expected: tuple[int, str],
) -> None:
    check_problem(await two_authors_client.post("/two-authors", params={"error": error}), *expected)
    assert await count_authors(outside_connection) == 0


async def test_transaction_is_rolled_back_when_request_is_cancelled(
    two_authors_app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    has_inserted = asyncio.Event()

    router = Router(tags=["transactions"])

    @router.post("/never-responds", permission="public")
    async def insert_and_wait_forever(session: Transaction) -> None:
        await session.execute(text(INSERT_AUTHOR), {"name": "rolled back"})
        has_inserted.set()
        await asyncio.Event().wait()

    add_routers(two_authors_app, [router], http_fast_path=True)
    async with open_client(two_authors_app) as client:
        request = asyncio.create_task(client.post("/never-responds"))
        await has_inserted.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.post("/authors", json={"name": "committed"})).status_code == 201
    assert await count_authors(outside_connection) == 1


@pytest.mark.parametrize("path", ["/authors", "/two-authors"])
async def test_response_starts_after_commit(
    two_authors_app: FastAPI, outside_connection: asyncpg.Connection, path: str
) -> None:
    visible_author_counts: list[int] = []

    async def count_when_response_starts(scope: Any, receive: Any, send: Any) -> None:
        async def count_and_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                visible_author_counts.append(await count_authors(outside_connection))
            await send(message)

        await two_authors_app(scope, receive, count_and_send)

    async with open_client(count_when_response_starts) as client:
        response = await client.post(path, json={"name": "Ursula"})
    assert response.status_code == 201
    assert visible_author_counts == [1 if path == "/authors" else 2]


async def test_created_row_is_visible_to_other_connections_when_server_responds(
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
    """Violate the NOT NULL constraints of a table with COPY, which does not use SQLAlchemy."""
    table = Base.metadata.tables["job_runs"]
    await session.copy_records(table, [(None,) * len(table.columns)])


@pytest.mark.parametrize(
    "execute_failing_statement", [divide_by_zero, divide_by_zero_in_orm, copy_nulls]
)
async def test_transaction_returns_500_when_error_of_statement_is_caught(
    two_authors_app: FastAPI,
    database: Database,
    outside_connection: asyncpg.Connection,
    execute_failing_statement: Callable[[TransactionSession], Awaitable[None]],
) -> None:
    callbacks_run: list[str] = []

    async def record_callback() -> None:
        callbacks_run.append("callback")

    router = Router(tags=["transactions"])

    @router.post("/caught-error", permission="register")
    async def catch_error_of_statement(session: Transaction) -> dict[str, str]:
        session.after_commit(record_callback)
        await session.execute(text(INSERT_AUTHOR), {"name": "one"})
        with suppress(Exception):
            await execute_failing_statement(session)
        return {"status": "stored"}

    add_routers(two_authors_app, [router], http_fast_path=True)
    async with open_client(two_authors_app) as client:
        for headers in ({}, {"Idempotency-Key": "key"}):
            response = await client.post("/caught-error", headers=headers)
            check_problem(response, 500, "internal-error")
        # Check that the connection was returned to the pool and can be used again.
        assert (await client.post("/two-authors")).status_code == 201
    await database.wait_for_callbacks()
    assert (await count_authors(outside_connection), callbacks_run) == (2, [])


async def test_transaction_is_committed_when_error_of_savepoint_is_caught(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    async with database.transaction() as session:
        await session.execute(text(INSERT_AUTHOR), {"name": "one"})
        with suppress(ServiceError):
            async with session.savepoint():
                await session.execute(DIVIDE_BY_ZERO)
    assert await count_authors(outside_connection) == 1


async def test_session_raises_error_when_used_after_its_transaction(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text(INSERT_AUTHOR), {"name": "one"})
    with pytest.raises(InvalidRequestError, match="closed"):
        await session.execute(text(INSERT_AUTHOR), {"name": "two"})
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
