"""Errors of Postgres, its driver and the connection pool, and the responses for them.

Nearly all of the errors come from a real Postgres.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.core.http import RequestSession, Router, Transaction, add_routers
from app.main import create_app
from tests.support.app_clients import open_client
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author, make_book, make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import replace_resources
from tests.support.rows import first_value
from tests.support.settings import make_settings

SETUP = (
    # A sequence counts the tries, because a rollback does not reset it.
    "CREATE SEQUENCE tries",
    """
    CREATE FUNCTION fail(code text) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('tries');
        RAISE EXCEPTION 'the secret cause' USING ERRCODE = code;
    END $$
    """,
    """
    CREATE FUNCTION fail_once(code text) RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('tries') = 1 THEN RAISE EXCEPTION 'once' USING ERRCODE = code; END IF;
        RETURN 1;
    END $$
    """,
    """
    CREATE FUNCTION die_once() RETURNS bigint LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('tries') = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(60);
        END IF;
        RETURN 1;
    END $$
    """,
    """
    CREATE TABLE things (
        id integer PRIMARY KEY,
        word varchar(3) CHECK (word <> 'no'),
        other integer REFERENCES things
    )
    """,
    "INSERT INTO things VALUES (1, 'yes', NULL), (2, 'yes', 1)",
)
# The database is shared with other tests.
TEARDOWN = "DROP TABLE things; DROP FUNCTION fail, fail_once, die_once; DROP SEQUENCE tries"
# The paths of `serve_statements` that execute SQL, in each kind of session.
SESSION_PATHS = ("/read", "/write", "/transact")
# Values that SQL text cannot contain, only parameters.
PARAMETERS = {"large": 2**40, "nul": "a\0b", "surrogate": "\ud800"}


@asynccontextmanager
async def serve_statements(database: Database) -> AsyncIterator[AsyncClient]:
    """Serve a database with endpoints that execute any SQL: GET /read, POST /write, /transact."""
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)

    router = Router(tags=["statements"])

    @router.get("/read", permission="public")
    async def read(sql: str, session: RequestSession) -> str:
        return first_value(await session.execute(text(sql), PARAMETERS))

    @router.post("/write", permission="public")
    async def write(sql: str, session: RequestSession) -> str:
        return first_value(await session.execute(text(sql), PARAMETERS))

    @router.post("/transact", permission="public")
    async def transact(sql: str, session: Transaction) -> str:
        return first_value(await session.execute(text(sql), PARAMETERS))

    @router.post("/transact_directly", permission="public")
    async def transact_directly(sql: str, session: Transaction) -> str:
        return str((await session.orm.execute(text(sql), PARAMETERS)).one()[0])

    add_routers(app, [router], http_fast_path=True)
    async with open_client(app) as client:
        yield client


@pytest.fixture
async def sql_client(
    database: Database, outside_connection: asyncpg.Connection
) -> AsyncIterator[AsyncClient]:
    async with database.transaction() as session:
        for statement in SETUP:
            await session.execute(text(statement))
    async with serve_statements(database) as client:
        yield client
    await outside_connection.execute(TEARDOWN)


async def run_in_every_session(sql_client: AsyncClient, statement: str) -> list[Response]:
    return [await run_statement(sql_client, path, statement) for path in SESSION_PATHS]


async def run_statement(sql_client: AsyncClient, path: str, statement: str) -> Response:
    """Execute a statement in the kind of session that an endpoint has."""
    method = "GET" if path == "/read" else "POST"
    return await sql_client.request(method, path, params={"sql": statement})


PROBLEMS_BY_SQLSTATE = {
    "23505": (409, "conflict"),
    "23503": (409, "conflict"),
    "23P01": (409, "conflict"),
    "23001": (409, "conflict"),
    "23502": (422, "invalid-request"),
    "23514": (422, "invalid-request"),
    "22001": (422, "invalid-request"),
    "22003": (422, "invalid-request"),
    "22008": (422, "invalid-request"),
    "22021": (422, "invalid-request"),
    "22P02": (422, "invalid-request"),
    "25006": (503, "unavailable"),
    "28P01": (503, "unavailable"),
    "3D000": (503, "unavailable"),
    "40001": (409, "conflict"),
    "40P01": (409, "conflict"),
    "53100": (503, "overloaded"),
    "53200": (503, "overloaded"),
    "53300": (503, "overloaded"),
    "55P03": (503, "overloaded"),
    "57014": (503, "overloaded"),
    "57P01": (503, "unavailable"),
    "57P02": (503, "unavailable"),
    "57P03": (503, "unavailable"),
    "08006": (503, "unavailable"),
    "08003": (503, "unavailable"),
    "58030": (503, "unavailable"),
    "42P01": (500, "internal-error"),
    "42501": (500, "internal-error"),
    "P0001": (500, "internal-error"),
    "XX000": (500, "internal-error"),
}


@pytest.mark.parametrize(("sqlstate", "expected"), PROBLEMS_BY_SQLSTATE.items())
async def test_sqlstate_has_same_problem_in_every_kind_of_session(
    sql_client: AsyncClient, sqlstate: str, expected: tuple[int, str]
) -> None:
    for response in await run_in_every_session(sql_client, f"SELECT fail('{sqlstate}')"):
        check_problem(response, *expected)
        assert ("retry-after" in response.headers) == (expected[0] == 503)
        assert "secret" not in response.text


PROBLEMS_BY_STATEMENT = {
    "INSERT INTO things VALUES (1) RETURNING id": (409, "conflict"),  # unique
    "INSERT INTO things VALUES (9, 'yes', 8) RETURNING id": (409, "conflict"),  # foreign key
    "DELETE FROM things WHERE id = 1 RETURNING id": (409, "conflict"),  # referred to
    "INSERT INTO things VALUES (NULL) RETURNING id": (422, "invalid-request"),
    "INSERT INTO things VALUES (9, 'no') RETURNING id": (422, "invalid-request"),  # check
    "INSERT INTO things VALUES (9, 'long') RETURNING id": (422, "invalid-request"),
    "SELECT 2147483647 + 1": (422, "invalid-request"),
    "SELECT date '9999-12-31' + 2147483647": (422, "invalid-request"),
    "SELECT CAST('x' AS integer)": (422, "invalid-request"),
    "SELECT CAST(:nul AS text)": (422, "invalid-request"),
    # The driver cannot encode these values, so they never reach the server.
    "SELECT CAST(:large AS integer)": (422, "invalid-request"),
    "SELECT CAST(:surrogate AS text)": (422, "invalid-request"),
    "SELECT CAST(:large AS text)": (422, "invalid-request"),
    "SELECT * FROM missing": (500, "internal-error"),
    "SELECT missing FROM things": (500, "internal-error"),
    "SELEKT 1": (500, "internal-error"),
}


@pytest.mark.parametrize(("statement", "expected"), PROBLEMS_BY_STATEMENT.items())
async def test_failed_statement_has_same_problem_in_every_kind_of_session(
    sql_client: AsyncClient, statement: str, expected: tuple[int, str]
) -> None:
    for response in await run_in_every_session(sql_client, statement):
        check_problem(response, *expected)
        assert "things" not in response.text


@pytest.mark.parametrize("sqlstate", ["23505", "22003", "40001", "53300", "57P01", "42P01"])
async def test_error_of_orm_session_has_same_problem_as_statement(
    sql_client: AsyncClient, sqlstate: str
) -> None:
    statement = {"sql": f"SELECT fail('{sqlstate}')"}
    check_problem(
        await sql_client.post("/transact_directly", params=statement),
        *PROBLEMS_BY_SQLSTATE[sqlstate],
    )


@pytest.mark.private_database
async def test_orm_session_returns_503_when_pool_is_exhausted(database_url: str) -> None:
    database = Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=0.2))
    async with serve_statements(database) as sql_client, database.engine.connect():
        response = await run_statement(sql_client, "/transact_directly", "SELECT 1")
        check_problem(response, 503, "overloaded")
    await database.engine.dispose()


async def test_error_for_refused_value_points_to_whole_body(sql_client: AsyncClient) -> None:
    for response in await run_in_every_session(sql_client, "SELECT fail('22003')"):
        assert field_error_locations(response) == [{"pointer": ""}]


async def test_error_in_sql_is_logged_with_traceback(
    sql_client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    responses = await run_in_every_session(sql_client, "SELECT fail('42P01')")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == len(responses)
    assert all(record.exc_info for record in errors)
    assert "the secret cause" in caplog.text


async def test_expected_database_errors_are_not_logged_as_errors(
    sql_client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for sqlstate, (status, _) in PROBLEMS_BY_SQLSTATE.items():
        if status != 500:
            await run_statement(sql_client, "/write", f"SELECT fail('{sqlstate}')")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def count_tries(sql_client: AsyncClient) -> int:
    response = await run_statement(sql_client, "/read", "SELECT last_value FROM tries")
    return int(response.json())


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("path", ["/read", "/write"])
async def test_statement_is_retried_once_after_deadlock(
    sql_client: AsyncClient, path: str, sqlstate: str
) -> None:
    response = await run_statement(sql_client, path, f"SELECT fail_once('{sqlstate}')")
    assert response.status_code == 200
    assert await count_tries(sql_client) == 2


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
@pytest.mark.parametrize("path", ["/read", "/write"])
async def test_statement_returns_409_if_deadlocks_do_not_end(
    sql_client: AsyncClient, path: str, sqlstate: str
) -> None:
    response = await run_statement(sql_client, path, f"SELECT fail('{sqlstate}')")
    check_problem(response, 409, "conflict")
    assert await count_tries(sql_client) == 6


@pytest.mark.parametrize("sqlstate", ["23505", "22003", "53300", "57014", "P0001"])
async def test_statement_is_not_retried_after_other_errors(
    sql_client: AsyncClient, sqlstate: str
) -> None:
    await run_statement(sql_client, "/write", f"SELECT fail('{sqlstate}')")
    assert await count_tries(sql_client) == 1


@pytest.mark.private_database
async def test_read_is_retried_when_connection_is_lost(sql_client: AsyncClient) -> None:
    response = await run_statement(sql_client, "/read", "SELECT die_once()")
    assert (response.status_code, response.json()) == (200, "1")
    assert await count_tries(sql_client) == 2


@pytest.mark.private_database
@pytest.mark.parametrize("path", ["/write", "/transact"])
async def test_write_is_not_retried_when_connection_is_lost(
    sql_client: AsyncClient, path: str
) -> None:
    # The client cannot know whether the write was committed.
    response = await run_statement(sql_client, path, "SELECT die_once()")
    check_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert await count_tries(sql_client) == 1


async def terminate_connections(outside_connection: asyncpg.Connection) -> int:
    """Terminate every other connection to this database, and wait until they are closed."""
    terminated = await outside_connection.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return len(terminated)


@pytest.mark.private_database
async def test_reads_succeed_after_all_connections_are_terminated(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for _ in range(2):
        await asyncio.gather(*(client.get(path) for _ in range(10)))
        assert await terminate_connections(outside_connection) > 1
        responses = await asyncio.gather(*(client.get(path) for _ in range(10)))
        assert [response.status_code for response in responses] == [200] * 10


@pytest.mark.private_database
async def test_writes_succeed_after_idle_connections_are_terminated(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    for name in ("Ursula", "Octavia"):
        await asyncio.gather(*(client.get("/authors") for _ in range(10)))
        assert await terminate_connections(outside_connection) > 1
        assert (await client.post("/authors", json={"name": name})).status_code == 201
    assert (await client.get("/authors")).json()["total"] == 2


@pytest.mark.private_database
async def test_statement_returns_503_when_it_times_out(database_url: str) -> None:
    database = Database(make_settings(database_url, db_statement_timeout=0.05))
    async with serve_statements(database) as sql_client:
        for response in await run_in_every_session(sql_client, "SELECT pg_sleep(60)"):
            check_problem(response, 503, "overloaded")
            assert int(response.headers["retry-after"]) >= 1
    await database.engine.dispose()


@pytest.mark.private_database
async def test_write_returns_503_when_lock_times_out(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    database = Database(make_settings(database_url, db_statement_timeout=0.25))
    async with serve_statements(database) as client:
        path = f"/authors/{(await make_author(client))['id']}"
        async with outside_connection.transaction():
            await outside_connection.execute("UPDATE authors SET name = 'locked'")
            check_problem(await client.patch(path, json={"name": "x"}), 503, "overloaded")
            check_problem(await client.delete(path), 503, "overloaded")
            assert (await client.get(path)).json()["name"] == "Ursula K. Le Guin"
        assert (await client.patch(path, json={"name": "x"})).status_code == 200
    await database.engine.dispose()


@pytest.mark.private_database
async def test_requests_return_503_when_pool_is_exhausted(database_url: str) -> None:
    # The pool also opens its connection within this time, which is long enough for a busy machine.
    database = Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=1))
    async with serve_statements(database) as client:
        async with database.engine.connect():
            for response in await asyncio.gather(
                client.post("/authors", json={"name": "Ursula"}),
                *(run_statement(client, path, "SELECT 1") for path in SESSION_PATHS),
            ):
                check_problem(response, 503, "overloaded")
                assert int(response.headers["retry-after"]) >= 1
        assert (await client.get("/authors")).status_code == 200
    await database.engine.dispose()


@pytest.mark.private_database
async def test_failed_statement_returns_its_connection_to_pool(database_url: str) -> None:
    database = Database(make_settings(database_url, db_pool_size=1))
    async with serve_statements(database) as client:
        for _ in range(3):
            for response in await run_in_every_session(client, "SELECT * FROM missing"):
                check_problem(response, 500, "internal-error")
            check_problem(await client.get(f"/authors/{UNKNOWN_ID}"), 404, "not-found")
    await database.engine.dispose()


@pytest.mark.private_database
async def test_requests_succeed_when_migration_changes_type_of_column(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    # The plans of prepared statements are stale then. The statements had no effect.
    path = f"/users/{(await make_user(client))['id']}"
    assert (await client.get(path)).status_code == 200
    assert (await client.patch(path, json={"name": "x"})).status_code == 200
    await outside_connection.execute("ALTER TABLE users ALTER COLUMN email TYPE varchar(320)")
    assert (await client.patch(path, json={"name": "y"})).status_code == 200
    await outside_connection.execute("ALTER TABLE users ALTER COLUMN email TYPE varchar(321)")
    assert (await client.get(path)).json()["name"] == "y"


@pytest.mark.private_database
async def test_constraint_errors_name_their_cause(client: AsyncClient) -> None:
    book = await make_book(client)
    response = await client.delete(f"/authors/{book['author_id']}")
    check_problem(response, 409, "author-has-books")
    response = await client.post("/books", json={"title": "x", "author_id": UNKNOWN_ID})
    assert field_error_locations(response) == [{"pointer": "/author_id"}]
