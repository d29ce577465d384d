"""What Postgres, its driver and the pool say, as answers: nearly all of it said for real."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import text
from sqlalchemy.engine import make_url

from app.core.db import Database
from app.core.http import RequestSession, Router, Transaction, add_routers
from app.main import create_app
from tests.authors.test_authors import NOBODY
from tests.conftest import make_settings
from tests.support.connections import tcp_server
from tests.support.factories import make_author, make_book, make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import replace_resources
from tests.support.rows import first_value

SETUP = (
    # The sequence counts the tries, because it forgets nothing when a statement is undone.
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
# Values that only bound parameters can bring.
VALUES = {"large": 2**40, "nul": "a\0b", "surrogate": "\ud800"}


@asynccontextmanager
async def serving(database: Database) -> AsyncIterator[AsyncClient]:
    """The service over a database, where GET /read, POST /write and /transact run any statement."""
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)

    router = Router(tags=["statements"])

    @router.get("/read", permission="public")
    async def read(sql: str, session: RequestSession) -> str:
        return first_value(await session.execute(text(sql), VALUES))

    @router.post("/write", permission="public")
    async def write(sql: str, session: RequestSession) -> str:
        return first_value(await session.execute(text(sql), VALUES))

    @router.post("/transact", permission="public")
    async def transact(sql: str, session: Transaction) -> str:
        return first_value(await session.execute(text(sql), VALUES))

    @router.post("/transact_directly", permission="public")
    async def transact_directly(sql: str, session: Transaction) -> str:
        return str((await session.orm.execute(text(sql), VALUES)).one()[0])

    add_routers(app, [router], fast_dispatch=True)
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def sql(
    database: Database, outside_connection: asyncpg.Connection
) -> AsyncIterator[AsyncClient]:
    async with database.transaction() as session:
        for statement in SETUP:
            await session.execute(text(statement))
    async with serving(database) as client:
        yield client
    await outside_connection.execute(TEARDOWN)


async def everywhere(sql: AsyncClient, statement: str) -> list[Response]:
    paths = ("/read", "/write", "/transact")
    return [await run(sql, path, statement) for path in paths]


async def run(sql: AsyncClient, path: str, statement: str) -> Response:
    """Run a statement in the session of a path."""
    method = "GET" if path == "/read" else "POST"
    return await sql.request(method, path, params={"sql": statement})


CODES = {
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


@pytest.mark.parametrize(("code", "expected"), CODES.items())
async def test_a_sqlstate_has_one_meaning_in_every_session(
    sql: AsyncClient, code: str, expected: tuple[int, str]
) -> None:
    for answer in await everywhere(sql, f"SELECT fail('{code}')"):
        check_problem(answer, *expected)
        assert ("retry-after" in answer.headers) == (expected[0] == 503)
        assert "secret" not in answer.text


STATEMENTS = {
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
    # What the driver cannot encode never reaches the server.
    "SELECT CAST(:large AS integer)": (422, "invalid-request"),
    "SELECT CAST(:surrogate AS text)": (422, "invalid-request"),
    "SELECT CAST(:large AS text)": (422, "invalid-request"),
    "SELECT * FROM missing": (500, "internal-error"),
    "SELECT missing FROM things": (500, "internal-error"),
    "SELEKT 1": (500, "internal-error"),
}


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS.items())
async def test_what_a_statement_runs_into_has_one_meaning_in_every_session(
    sql: AsyncClient, statement: str, expected: tuple[int, str]
) -> None:
    for answer in await everywhere(sql, statement):
        check_problem(answer, *expected)
        assert "things" not in answer.text


@pytest.mark.parametrize("code", ["23505", "22003", "40001", "53300", "57P01", "42P01"])
async def test_an_orm_call_in_a_transaction_fails_like_any_other(
    sql: AsyncClient, code: str
) -> None:
    statement = {"sql": f"SELECT fail('{code}')"}
    check_problem(await sql.post("/transact_directly", params=statement), *CODES[code])


@pytest.mark.private_database
async def test_an_orm_call_that_gets_no_connection_is_overload(database_url: str) -> None:
    database = Database(make_settings(database_url, db_pool_size=1, db_pool_timeout=0.2))
    async with serving(database) as sql, database.engine.connect():
        answer = await run(sql, "/transact_directly", "SELECT 1")
        check_problem(answer, 503, "overloaded")
    await database.engine.dispose()


async def test_a_refused_value_is_a_fault_of_the_whole_body(sql: AsyncClient) -> None:
    for answer in await everywhere(sql, "SELECT fail('22003')"):
        assert field_error_locations(answer) == [{"pointer": ""}]


async def test_a_programming_error_is_logged(
    sql: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answers = await everywhere(sql, "SELECT fail('42P01')")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == len(answers)
    assert all(record.exc_info for record in errors)
    assert "the secret cause" in caplog.text


async def test_what_is_no_mistake_of_ours_is_not_logged_as_an_error(
    sql: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for code, (status, _) in CODES.items():
        if status != 500:
            await run(sql, "/write", f"SELECT fail('{code}')")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def tries(sql: AsyncClient) -> int:
    answer = await run(sql, "/read", "SELECT last_value FROM tries")
    return int(answer.json())


@pytest.mark.parametrize("code", ["40001", "40P01"])
@pytest.mark.parametrize("path", ["/read", "/write"])
async def test_a_deadlock_is_tried_again_once(sql: AsyncClient, path: str, code: str) -> None:
    answer = await run(sql, path, f"SELECT fail_once('{code}')")
    assert answer.status_code == 200
    assert await tries(sql) == 2


@pytest.mark.parametrize("code", ["40001", "40P01"])
@pytest.mark.parametrize("path", ["/read", "/write"])
async def test_a_second_deadlock_is_a_conflict(sql: AsyncClient, path: str, code: str) -> None:
    answer = await run(sql, path, f"SELECT fail('{code}')")
    check_problem(answer, 409, "conflict")
    assert await tries(sql) == 2


@pytest.mark.parametrize("code", ["23505", "22003", "53300", "57014", "P0001"])
async def test_nothing_else_is_tried_again(sql: AsyncClient, code: str) -> None:
    await run(sql, "/write", f"SELECT fail('{code}')")
    assert await tries(sql) == 1


@pytest.mark.private_database
async def test_a_read_whose_connection_dies_is_tried_again(sql: AsyncClient) -> None:
    answer = await run(sql, "/read", "SELECT die_once()")
    assert (answer.status_code, answer.json()) == (200, "1")
    assert await tries(sql) == 2


@pytest.mark.private_database
@pytest.mark.parametrize("path", ["/write", "/transact"])
async def test_a_write_whose_connection_dies_is_not_tried_again(
    sql: AsyncClient, path: str
) -> None:
    # Nobody can know whether it was done.
    answer = await run(sql, path, "SELECT die_once()")
    check_problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert await tries(sql) == 1


async def kill_connections(outside_connection: asyncpg.Connection) -> int:
    """End every other connection to this database, and wait until they are gone."""
    killed = await outside_connection.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return len(killed)


@pytest.mark.private_database
async def test_reads_survive_the_death_of_all_connections(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for _ in range(2):
        await asyncio.gather(*(client.get(path) for _ in range(10)))
        assert await kill_connections(outside_connection) > 1
        answers = await asyncio.gather(*(client.get(path) for _ in range(10)))
        assert [answer.status_code for answer in answers] == [200] * 10


@pytest.mark.private_database
async def test_writes_survive_the_death_of_idle_connections(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    for name in ("Ursula", "Octavia"):
        await asyncio.gather(*(client.get("/authors") for _ in range(10)))
        assert await kill_connections(outside_connection) > 1
        assert (await client.post("/authors", json={"name": name})).status_code == 201
    assert (await client.get("/authors")).json()["total"] == 2


@pytest.mark.private_database
async def test_a_statement_that_takes_too_long_is_overload(database_url: str) -> None:
    database = Database(make_settings(database_url, db_statement_timeout=0.05))
    async with serving(database) as sql:
        for answer in await everywhere(sql, "SELECT pg_sleep(60)"):
            check_problem(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
    await database.engine.dispose()


@pytest.mark.private_database
async def test_a_write_that_waits_too_long_for_a_lock_is_overload(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    database = Database(make_settings(database_url, db_statement_timeout=0.25))
    async with serving(database) as client:
        path = f"/authors/{(await make_author(client))['id']}"
        async with outside_connection.transaction():
            await outside_connection.execute("UPDATE authors SET name = 'locked'")
            check_problem(await client.patch(path, json={"name": "x"}), 503, "overloaded")
            check_problem(await client.delete(path), 503, "overloaded")
            assert (await client.get(path)).json()["name"] == "Ursula K. Le Guin"
        assert (await client.patch(path, json={"name": "x"})).status_code == 200
    await database.engine.dispose()


@pytest.mark.private_database
async def test_an_exhausted_pool_is_overload(database_url: str) -> None:
    settings = make_settings(database_url, db_pool_size=1, db_pool_timeout=0.2)
    database = Database(settings)
    async with serving(database) as client:
        async with database.engine.connect():
            for answer in (
                await client.post("/authors", json={"name": "Ursula"}),
                *await everywhere(client, "SELECT 1"),
            ):
                check_problem(answer, 503, "overloaded")
                assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/authors")).status_code == 200
    await database.engine.dispose()


@pytest.mark.private_database
async def test_a_failed_statement_gives_its_connection_back(database_url: str) -> None:
    database = Database(make_settings(database_url, db_pool_size=1))
    async with serving(database) as client:
        for _ in range(3):
            for answer in await everywhere(client, "SELECT * FROM missing"):
                check_problem(answer, 500, "internal-error")
            check_problem(await client.get(f"/authors/{NOBODY}"), 404, "not-found")
    await database.engine.dispose()


@pytest.mark.private_database
async def test_a_migration_beneath_the_service_fails_no_request(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    # Its prepared statements return another type now; none of them has done anything.
    path = f"/users/{(await make_user(client))['id']}"
    assert (await client.get(path)).status_code == 200
    assert (await client.patch(path, json={"name": "x"})).status_code == 200
    await outside_connection.execute("ALTER TABLE users ALTER COLUMN email TYPE varchar(320)")
    assert (await client.patch(path, json={"name": "y"})).status_code == 200
    await outside_connection.execute("ALTER TABLE users ALTER COLUMN email TYPE varchar(321)")
    assert (await client.get(path)).json()["name"] == "y"


async def read_and_write(url: str, *, patience: float = 5.0) -> list[Response]:
    """The answers over a database that may refuse to be connected to."""
    database = Database(make_settings(url, db_pool_timeout=patience))
    async with serving(database) as client:
        answers = [
            await client.get("/authors"),
            await client.post("/authors", json={"name": "Ursula"}),
            *await everywhere(client, "SELECT 1"),
        ]
    await database.engine.dispose()
    return answers


@pytest.mark.private_database
async def test_a_database_without_a_free_connection_is_overload(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    role = f"bookshelf_test_{uuid4().hex[:12]}"
    await outside_connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    try:
        theirs = make_url(database_url).set(username=role, password="x")
        for answer in await read_and_write(theirs.render_as_string(hide_password=False)):
            check_problem(answer, 503, "overloaded")
    finally:
        await outside_connection.execute(f"DROP ROLE {role}")


@asynccontextmanager
async def server_that_says(message: bytes | None) -> AsyncIterator[str]:
    """The URL of a server that answers a login with this and hangs up; None: with silence.

    No real one can be kept in these states for as long as a test needs.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        if message is None:
            await asyncio.Event().wait()
        else:
            writer.write(message)

    async with tcp_server(answer) as where:
        yield f"postgresql://user:x@{where}/x?sslmode=disable"


def fatal(code: str) -> bytes:
    """An ErrorResponse, https://www.postgresql.org/docs/current/protocol-message-formats.html"""
    fields = f"SFATAL\0VFATAL\0C{code}\0Mthe secret cause\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        pytest.param(fatal("57P03"), "unavailable", id="starting up or shutting down"),
        pytest.param(fatal("57P01"), "unavailable", id="terminated while logging in"),
        pytest.param(fatal("53300"), "overloaded", id="too many connections"),
        pytest.param(fatal("08006"), "unavailable", id="a pooler without a server"),
        pytest.param(b"", "unavailable", id="hangs up"),
        pytest.param(None, "unavailable", id="silence"),
    ],
)
async def test_a_server_that_lets_nobody_in_is_temporarily_unavailable(
    caplog: pytest.LogCaptureFixture, message: bytes | None, kind: str
) -> None:
    async with server_that_says(message) as url:
        for answer in await read_and_write(url, patience=0.2 if message is None else 5.0):
            check_problem(answer, 503, kind)
            assert int(answer.headers["retry-after"]) >= 1
            assert "secret" not in answer.text
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert said
    assert not any(line.endswith(": ") for line in said)  # as that of a TimeoutError does


async def test_a_wrong_password_of_ours_is_our_mistake(caplog: pytest.LogCaptureFixture) -> None:
    async with server_that_says(fatal("28P01")) as url:
        for answer in await read_and_write(url):
            check_problem(answer, 500, "internal-error")
    assert "the secret cause" in caplog.text


@pytest.mark.private_database
async def test_the_constraints_of_the_service_keep_their_meaning(client: AsyncClient) -> None:
    book = await make_book(client)
    answer = await client.delete(f"/authors/{book['author_id']}")
    check_problem(answer, 409, "author-has-books")
    answer = await client.post("/books", json={"title": "x", "author_id": NOBODY})
    assert field_error_locations(answer) == [{"pointer": "/author_id"}]
