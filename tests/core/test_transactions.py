"""The transaction boundary: what was answered with a success is stored, and nothing else is."""

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
from tests.conftest import make_settings
from tests.support.factories import Json
from tests.support.problems import check_problem
from tests.support.processes import running_server
from tests.support.resources import replace_resources

pytestmark = pytest.mark.private_database

INSERT = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"


async def authors(outside_connection: asyncpg.Connection) -> int:
    found: int = await outside_connection.fetchval("SELECT count(*) FROM authors")
    return found


async def fail_at_commit(
    outside_connection: asyncpg.Connection, what: str, table: str = "authors"
) -> None:
    """From now on a transaction that adds to a table does this when it commits."""
    await outside_connection.execute(
        f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {what}; RETURN NULL; END $$"
    )
    await outside_connection.execute(
        f"CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON {table} "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )


# What COMMIT itself may answer, and what the client then gets.
COMMITS = {
    "RAISE EXCEPTION 'no' USING ERRCODE = '23514'": (422, "invalid-request"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '23505'": (409, "conflict"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '40001'": (409, "conflict"),
    "RAISE EXCEPTION 'no' USING ERRCODE = '53100'": (503, "overloaded"),
    "RAISE EXCEPTION 'no'": (500, "internal-error"),
    "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60)": (503, "unavailable"),
}


@pytest.fixture
async def private_app(database: Database) -> FastAPI:
    """The service, where POST /two adds two authors in one transaction."""
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)

    router = Router(tags=["transactions"])

    @router.post("/two", permission="register", status_code=201)
    async def two(session: Transaction, *, fail: str = "") -> dict[str, str]:
        await session.execute(text(INSERT), {"name": "one"})
        await session.execute(text(INSERT), {"name": "two"})
        if fail == "ours":
            raise NotFound
        if fail:
            raise RuntimeError(fail)
        return {"status": "two"}

    add_routers(app, [router], fast_dispatch=True)
    return app


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def private(private_app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with client_of(private_app) as client:
        yield client


@pytest.mark.parametrize(("what", "expected"), COMMITS.items())
async def test_a_statement_whose_commit_fails_is_no_success(
    client: AsyncClient,
    outside_connection: asyncpg.Connection,
    what: str,
    expected: tuple[int, str],
) -> None:
    await fail_at_commit(outside_connection, what)
    check_problem(await client.post("/authors", json={"name": "Ursula"}), *expected)
    assert await authors(outside_connection) == 0


@pytest.mark.parametrize(("what", "expected"), COMMITS.items())
async def test_a_transaction_whose_commit_fails_is_no_success_and_wholly_undone(
    private: AsyncClient,
    outside_connection: asyncpg.Connection,
    what: str,
    expected: tuple[int, str],
) -> None:
    await fail_at_commit(outside_connection, what)
    check_problem(await private.post("/two"), *expected)
    assert await authors(outside_connection) == 0


@pytest.mark.parametrize("path", ["/authors", "/books/batch", "/two"])
@pytest.mark.parametrize(("what", "expected"), COMMITS.items())
async def test_request_with_a_key_whose_commit_fails_is_no_success_and_neither_is_its_retry(
    private: AsyncClient,
    outside_connection: asyncpg.Connection,
    path: str,
    what: str,
    expected: tuple[int, str],
) -> None:
    author = (await private.post("/authors", json={"name": "Ursula"})).json()
    await fail_at_commit(outside_connection, what, "books" if path == "/books/batch" else "authors")
    book = {"title": "Kindred", "author_id": author["id"]}
    body: Json = {"items": [book]} if path == "/books/batch" else {"name": "Octavia"}
    headers = {"Idempotency-Key": "key"}
    check_problem(await private.post(path, headers=headers, json=body), *expected)
    # The retry may be a replay, which has the request id of the first response.
    retry = await private.post(path, headers=headers, json=body)
    assert retry.status_code == expected[0]
    assert await authors(outside_connection) == 1
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == 0


@pytest.mark.parametrize("fail", ["ours", "x"])
async def test_request_with_a_key_that_fails_stores_nothing_of_its_transaction(
    private: AsyncClient, outside_connection: asyncpg.Connection, fail: str
) -> None:
    headers = {"Idempotency-Key": "key"}
    for _ in range(2):
        response = await private.post("/two", params={"fail": fail}, headers=headers)
        assert response.status_code == (404 if fail == "ours" else 500)
    assert await authors(outside_connection) == 0


async def test_retry_of_a_transaction_with_a_key_replays_what_was_committed(
    private: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "key"}
    first, retry = [await private.post("/two", headers=headers) for _ in range(2)]
    assert (first.status_code, retry.status_code) == (201, 201)
    assert retry.headers["idempotency-replayed"] == "true"
    assert await authors(outside_connection) == 2


async def test_request_with_a_key_and_another_query_than_the_first_is_refused(
    private: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "key"}
    assert (await private.post("/two", headers=headers)).status_code == 201
    response = await private.post("/two", params={"fail": "x"}, headers=headers)
    check_problem(response, 422, "idempotency-key-reused")
    assert await authors(outside_connection) == 2


async def test_all_sessions_of_a_request_with_a_key_are_one_transaction(
    private_app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    router = Router(tags=["transactions"])

    @router.post("/both", permission="register", status_code=201)
    async def both(session: RequestSession, transaction: Transaction) -> dict[str, bool]:
        await session.execute(text(INSERT), {"name": "one"})
        await transaction.execute(text(INSERT), {"name": "two"})
        return {"same": session is transaction}

    add_routers(private_app, [router], fast_dispatch=True)
    async with client_of(private_app) as client:
        for headers in ({}, {"Idempotency-Key": "key"}):
            response = await client.post("/both", headers=headers)
            assert (response.status_code, response.json()) == (201, {"same": True})
    assert await authors(outside_connection) == 4


async def test_transaction_that_is_the_victim_of_a_deadlock_is_repeated_once(
    private_app: FastAPI, outside_connection: asyncpg.Connection
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

    add_routers(private_app, [router], fast_dispatch=True)
    async with client_of(private_app) as client:
        assert (await client.post("/deadlock")).status_code == 201
    assert await authors(outside_connection) == 1


async def test_after_a_failed_commit_the_service_goes_on(
    private: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await fail_at_commit(outside_connection, "RAISE EXCEPTION 'no'")
    for _ in range(30):  # more often than the pool has connections
        assert (await private.post("/two")).status_code == 500
    await outside_connection.execute("DROP TRIGGER at_commit ON authors")
    assert (await private.post("/two")).status_code == 201
    assert await authors(outside_connection) == 2


async def test_a_transaction_stores_all_of_its_statements(
    private: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    answer = await private.post("/two")
    assert (answer.status_code, answer.json()) == (201, {"status": "two"})
    assert await authors(outside_connection) == 2


@pytest.mark.parametrize(
    ("fail", "expected"), [("ours", (404, "not-found")), ("x", (500, "internal-error"))]
)
async def test_an_exception_in_a_transaction_undoes_it(
    private: AsyncClient,
    outside_connection: asyncpg.Connection,
    fail: str,
    expected: tuple[int, str],
) -> None:
    check_problem(await private.post("/two", params={"fail": fail}), *expected)
    assert await authors(outside_connection) == 0


async def test_a_request_that_is_given_up_undoes_its_transaction(
    private_app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    begun = asyncio.Event()

    router = Router(tags=["transactions"])

    @router.post("/stuck", permission="public")
    async def stuck(session: Transaction) -> None:
        await session.execute(text(INSERT), {"name": "stuck"})
        begun.set()
        await asyncio.Event().wait()

    add_routers(private_app, [router], fast_dispatch=True)
    async with client_of(private_app) as client:
        request = asyncio.create_task(client.post("/stuck"))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.post("/authors", json={"name": "next"})).status_code == 201
    assert await authors(outside_connection) == 1


@pytest.mark.parametrize("path", ["/authors", "/two"])
async def test_when_the_answer_begins_the_commit_is_over(
    private_app: FastAPI, outside_connection: asyncpg.Connection, path: str
) -> None:
    visible: list[int] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                visible.append(await authors(outside_connection))
            await send(message)

        await private_app(scope, receive, sent)

    async with client_of(watched) as client:
        answer = await client.post(path, json={"name": "Ursula"})
    assert answer.status_code == 201
    assert visible == [1 if path == "/authors" else 2]


async def test_what_a_real_server_has_answered_is_visible_at_once_200_times(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    find = "SELECT name FROM authors WHERE id = $1"
    async with (
        running_server(DATABASE_URL=database_url) as (_, origin),
        AsyncClient(base_url=origin) as client,
    ):
        for number in range(200):
            answer = await client.post("/authors", json={"name": f"{number}"})
            assert answer.status_code == 201
            assert await outside_connection.fetchval(find, answer.json()["id"]) == f"{number}"


DIVIDE = text("SELECT 1 / 0")


async def divide(session: TransactionSession) -> None:
    await session.execute(DIVIDE)


async def divide_in_orm(session: TransactionSession) -> None:
    await session.orm.execute(DIVIDE)


async def copy_nulls(session: TransactionSession) -> None:
    table = Base.metadata.tables["job_runs"]
    await session.copy(table, [(None,) * len(table.columns)])


@pytest.mark.parametrize("fail", [divide, divide_in_orm, copy_nulls])
async def test_transaction_that_goes_on_after_a_failed_statement_is_not_a_success(
    private_app: FastAPI,
    database: Database,
    outside_connection: asyncpg.Connection,
    fail: Callable[[TransactionSession], Awaitable[None]],
) -> None:
    ran: list[str] = []

    async def note() -> None:
        ran.append("callback")

    router = Router(tags=["transactions"])

    @router.post("/going-on", permission="register")
    async def go_on(session: Transaction) -> dict[str, str]:
        session.after_commit(note)
        await session.execute(text(INSERT), {"name": "one"})
        with suppress(Exception):
            await fail(session)
        return {"status": "stored"}

    add_routers(private_app, [router], fast_dispatch=True)
    async with client_of(private_app) as client:
        for headers in ({}, {"Idempotency-Key": "key"}):
            response = await client.post("/going-on", headers=headers)
            check_problem(response, 500, "internal-error")
        # The connection has returned to the pool and can be used again.
        assert (await client.post("/two")).status_code == 201
    await database.wait_for_callbacks()
    assert (await authors(outside_connection), ran) == (2, [])


async def test_transaction_that_goes_on_after_a_failed_savepoint_is_committed(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    async with database.transaction() as session:
        await session.execute(text(INSERT), {"name": "one"})
        with suppress(ServiceError):
            async with session.savepoint():
                await session.execute(DIVIDE)
    assert await authors(outside_connection) == 1


async def test_session_cannot_be_used_after_its_transaction(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text(INSERT), {"name": "one"})
    with pytest.raises(InvalidRequestError, match="closed"):
        await session.execute(text(INSERT), {"name": "two"})
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
