"""The transaction boundary: what was answered with a success is stored, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text

from app.core.db import Database
from app.core.errors import NotFound
from app.core.http import Transaction
from app.main import create_app
from tests.conftest import settings_for
from tests.problems import problem_of
from tests.processes import serving

pytestmark = pytest.mark.commits

INSERT = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"


async def authors(other: asyncpg.Connection) -> int:
    found: int = await other.fetchval("SELECT count(*) FROM authors")
    return found


async def fail_at_commit(other: asyncpg.Connection, what: str) -> None:
    """From now on a transaction that adds an author does this when it commits."""
    await other.execute(
        f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {what}; RETURN NULL; END $$"
    )
    await other.execute(
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON authors "
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
    app = create_app(settings_for("postgresql:///unused"))
    app.state.database = database

    async def two(session: Transaction, *, fail: str = "") -> dict[str, str]:
        await session.execute(text(INSERT), {"name": "one"})
        await session.execute(text(INSERT), {"name": "two"})
        if fail == "ours":
            raise NotFound
        if fail:
            raise RuntimeError(fail)
        return {"status": "two"}

    app.add_api_route("/two", two, methods=["POST"], status_code=201)
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
    client: AsyncClient, other: asyncpg.Connection, what: str, expected: tuple[int, str]
) -> None:
    await fail_at_commit(other, what)
    problem_of(await client.post("/authors", json={"name": "Ursula"}), *expected)
    assert await authors(other) == 0


@pytest.mark.parametrize(("what", "expected"), COMMITS.items())
async def test_a_transaction_whose_commit_fails_is_no_success_and_wholly_undone(
    private: AsyncClient, other: asyncpg.Connection, what: str, expected: tuple[int, str]
) -> None:
    await fail_at_commit(other, what)
    problem_of(await private.post("/two"), *expected)
    assert await authors(other) == 0


async def test_after_a_failed_commit_the_service_goes_on(
    private: AsyncClient, other: asyncpg.Connection
) -> None:
    await fail_at_commit(other, "RAISE EXCEPTION 'no'")
    for _ in range(30):  # more often than the pool has connections
        assert (await private.post("/two")).status_code == 500
    await other.execute("DROP TRIGGER at_commit ON authors")
    assert (await private.post("/two")).status_code == 201
    assert await authors(other) == 2


async def test_a_transaction_stores_all_of_its_statements(
    private: AsyncClient, other: asyncpg.Connection
) -> None:
    answer = await private.post("/two")
    assert (answer.status_code, answer.json()) == (201, {"status": "two"})
    assert await authors(other) == 2


@pytest.mark.parametrize(
    ("fail", "expected"), [("ours", (404, "not-found")), ("x", (500, "internal-error"))]
)
async def test_an_exception_in_a_transaction_undoes_it(
    private: AsyncClient, other: asyncpg.Connection, fail: str, expected: tuple[int, str]
) -> None:
    problem_of(await private.post("/two", params={"fail": fail}), *expected)
    assert await authors(other) == 0


async def test_a_request_that_is_given_up_undoes_its_transaction(
    private_app: FastAPI, other: asyncpg.Connection
) -> None:
    begun = asyncio.Event()

    async def stuck(session: Transaction) -> None:
        await session.execute(text(INSERT), {"name": "stuck"})
        begun.set()
        await asyncio.Event().wait()

    private_app.add_api_route("/stuck", stuck, methods=["POST"])
    async with client_of(private_app) as client:
        request = asyncio.create_task(client.post("/stuck"))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.post("/authors", json={"name": "next"})).status_code == 201
    assert await authors(other) == 1


@pytest.mark.parametrize("path", ["/authors", "/two"])
async def test_when_the_answer_begins_the_commit_is_over(
    private_app: FastAPI, other: asyncpg.Connection, path: str
) -> None:
    visible: list[int] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                visible.append(await authors(other))
            await send(message)

        await private_app(scope, receive, sent)

    async with client_of(watched) as client:
        answer = await client.post(path, json={"name": "Ursula"})
    assert answer.status_code == 201
    assert visible == [1 if path == "/authors" else 2]


async def test_what_a_real_server_has_answered_is_visible_at_once_200_times(
    url: str, other: asyncpg.Connection
) -> None:
    find = "SELECT name FROM authors WHERE id = $1"
    async with serving(DATABASE_URL=url) as (_, origin), AsyncClient(base_url=origin) as client:
        for number in range(200):
            answer = await client.post("/authors", json={"name": f"{number}"})
            assert answer.status_code == 201
            assert await other.fetchval(find, answer.json()["id"]) == f"{number}"
