"""The databases known by name, on real servers: a streaming standby, and PgBouncer in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from httpx import ASGITransport, AsyncClient, Response
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app import schema
from app.core.db import Database, Session
from app.core.errors import Unavailable
from app.main import create_app
from app.settings import Settings
from app.users.passwords import PasswordHasher
from tests.authors.test_authors import NOBODY
from tests.conftest import make_settings
from tests.support import servers
from tests.support.factories import Json, make_author, make_book, make_user
from tests.support.pgbouncer import PGBOUNCER, SERVER_CONNECTIONS, pgbouncer_url, running_pgbouncer
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import running_server
from tests.support.replication import PrimaryAndStandby, running_primary_and_standby
from tests.support.resources import replace_resources
from tests.support.responses import get_json
from tests.support.rows import first_value
from tests.support.streamed_lists import read_json_lines

# The servers are slow to start: one process of the suite has them.
pytestmark = pytest.mark.private_database
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer is installed here")

READ_ONLY = "25006"  # read_only_sql_transaction
INSERT = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"
NAMED = "SELECT count(*) FROM authors WHERE name = :name"
ROUNDS, AT_ONCE = 6, 20


async def ask(session: Session, question: str, **values: str) -> str:
    """The one value that a statement answers with."""
    return first_value(await session.execute(text(question), values))


async def refused(database: Database, *, transaction: bool) -> str:
    """The SQLSTATE with which the reporting bind refuses to add the author `forbidden`."""

    async def write() -> None:
        if not transaction:
            await ask(database.named_databases["reporting"].writes, INSERT, name="forbidden")
            return
        async with database.transaction(bind_key="reporting") as session:
            await ask(session, INSERT, name="forbidden")

    with pytest.raises(DBAPIError) as caught:
        await write()
    assert await ask(database.reads, NAMED, name="forbidden") == "0"
    return str(getattr(caught.value.driver_exception, "sqlstate", None))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def client_of(
    settings: Settings, password_hasher: PasswordHasher | None = None
) -> AsyncIterator[AsyncClient]:
    """The service over a database of its own, in this process."""
    async with opened(settings) as database:
        app = create_app(settings)
        replace_resources(app, database=database, password_hasher=password_hasher)
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


# A primary and its standby.


@pytest.fixture(scope="module")
def pair() -> Iterator[PrimaryAndStandby]:
    with running_primary_and_standby() as both:
        yield both


@pytest.fixture
async def on_both(pair: PrimaryAndStandby) -> AsyncIterator[Database]:
    reporting = SecretStr(pair.standby_url)
    async with opened(make_settings(pair.primary_url, reporting_database_url=reporting)) as made:
        yield made


async def test_the_reporting_bind_reads_the_standby_and_the_default_the_primary(
    on_both: Database,
) -> None:
    recovering = "SELECT pg_is_in_recovery()"
    reporting = on_both.named_databases["reporting"]
    assert await ask(on_both.reads, recovering) == "False"
    assert await ask(reporting.reads, recovering) == "True"
    async with on_both.transaction() as session:
        assert await ask(session, recovering) == "False"
    async with on_both.transaction(bind_key="reporting") as session:
        assert await ask(session, recovering) == "True"


async def test_what_is_written_by_default_is_reported_once_it_is_replayed(
    pair: PrimaryAndStandby, on_both: Database
) -> None:
    alone, together = uuid4().hex, uuid4().hex
    await ask(on_both.writes, INSERT, name=alone)
    async with on_both.transaction() as session:
        await ask(session, INSERT, name=together)
    await pair.wait_until_caught_up()
    for name in (alone, together):
        assert await ask(on_both.named_databases["reporting"].reads, NAMED, name=name) == "1"
        async with on_both.transaction(bind_key="reporting") as session:
            assert await ask(session, NAMED, name=name) == "1"


@pytest.mark.parametrize("transaction", [False, True])
async def test_the_standby_refuses_to_write_and_the_primary_is_not_asked(
    on_both: Database, transaction: bool
) -> None:
    assert await refused(on_both, transaction=transaction) == READ_ONLY


async def test_a_standby_that_stops_and_returns_is_no_matter_to_the_default_bind(
    pair: PrimaryAndStandby, on_both: Database
) -> None:
    reporting = on_both.named_databases["reporting"].reads
    assert await ask(reporting, "SELECT 1") == "1"
    pair.standby.stop()
    try:
        with pytest.raises(Unavailable):
            await ask(reporting, "SELECT 1")
        with pytest.raises(Unavailable):
            async with on_both.transaction(bind_key="reporting") as session:
                await ask(session, "SELECT 1")
        missed = uuid4().hex
        await ask(on_both.writes, INSERT, name=missed)
        async with on_both.transaction() as session:
            assert await ask(session, NAMED, name=missed) == "1"
    finally:
        pair.standby.start()
    await pair.wait_until_caught_up()
    assert await ask(reporting, NAMED, name=missed) == "1"


# Without REPORTING_DATABASE_URL.


async def test_without_a_url_the_reporting_bind_is_the_default_database_read_only(
    database: Database,
) -> None:
    reporting = database.named_databases["reporting"]
    where = "SELECT current_database()"
    assert await ask(reporting.reads, where) == await ask(database.reads, where)
    assert await ask(reporting.reads, "SHOW default_transaction_read_only") == "on"
    assert await ask(database.reads, "SHOW default_transaction_read_only") == "off"
    await ask(database.writes, INSERT, name="Ursula")
    assert await ask(reporting.reads, NAMED, name="Ursula") == "1"
    async with database.transaction(bind_key="reporting") as session:
        assert await ask(session, NAMED, name="Ursula") == "1"


@pytest.mark.parametrize("transaction", [False, True])
async def test_without_a_url_the_server_itself_refuses_to_write(
    database: Database, transaction: bool
) -> None:
    assert await refused(database, transaction=transaction) == READ_ONLY


# Behind a pooler of transactions.


@pytest.fixture(scope="module")
def pooler(template_url: str) -> Iterator[Path]:
    with running_pgbouncer(template_url) as sockets:
        yield sockets


@pytest.fixture
def pooled_url(pooler: Path, private_database_url: str) -> str:
    return pgbouncer_url(pooler, private_database_url)


@asynccontextmanager
async def every_connection(url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    """Each of the pooler's connections to the server, in a transaction that is ours."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(SERVER_CONNECTIONS):
            connection = await asyncpg.connect(url, statement_cache_size=0)
            stack.push_async_callback(connection.close)
            await stack.enter_async_context(connection.transaction())
            found.append(connection)
        yield found


@needs_pgbouncer
async def test_the_service_works_behind_a_pooler_of_transactions(pooled_url: str) -> None:
    environment = {"DATABASE_URL": pooled_url, "DB_PGBOUNCER": "true", "DB_POOL_SIZE": "10"}
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
        assert (await client.get("/readyz")).status_code == 200
        author = await make_author(client, name="Ursula")
        books = [await make_book(client, f"Book {n}", author["id"]) for n in range(5)]
        path = f"/books/{books[0]['id']}"
        assert await get_json(client, path) == books[0]
        some = f"/books?author_id={author['id']}&sort=title&size=3"
        first = await get_json(client, some)
        rest = await get_json(client, f"{some}&cursor={first['next']}")
        listed = [book["title"] for book in first["items"] + rest["items"]]
        assert listed == [f"Book {n}" for n in range(5)]
        changed = await client.patch(path, json={"title": "New"}, headers={"If-Match": '"1"'})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        stale = await client.patch(path, json={"title": "Old"}, headers={"If-Match": '"1"'})
        check_problem(stale, 412, "precondition-failed")
        assert (await client.delete(path)).status_code == 204
        check_problem(await client.get(path), 404, "not-found")


@needs_pgbouncer
async def test_behind_a_pooler_a_constraint_is_still_the_right_problem(
    pooled_url: str, password_hasher: PasswordHasher
) -> None:
    async with client_of(make_settings(pooled_url, db_pgbouncer=True), password_hasher) as client:
        book, user = await make_book(client), await make_user(client)
        body = {"name": "Another", "email": user["email"].upper(), "password": "correct horse"}
        for _ in range(
            SERVER_CONNECTIONS + 1
        ):  # what failed leaves its connection fit for the next
            orphan = await client.post("/books", json={"title": "Anon", "author_id": NOBODY})
            assert field_error_locations(orphan) == [{"pointer": "/author_id"}]
            answer = await client.delete(f"/authors/{book['author_id']}")
            check_problem(answer, 409, "author-has-books")
            check_problem(await client.post("/users", json=body), 409, "email-taken")
        assert (await get_json(client, f"/books/{book['id']}")) == book


@needs_pgbouncer
async def test_behind_a_pooler_batches_are_added_and_all_is_streamed(pooled_url: str) -> None:
    async with client_of(make_settings(pooled_url, db_pgbouncer=True)) as client:
        author = (await make_author(client))["id"]
        books: list[Json] = []
        for _round in range(SERVER_CONNECTIONS + 1):
            items = [{"title": f"Book {n}", "author_id": author} for n in range(250)]
            answer = await client.post("/books/batch", json={"items": items})
            assert answer.status_code == 201
            books += answer.json()["items"]
            assert await read_json_lines(client, f"/books?author_id={author}&q=book") == books


@needs_pgbouncer
async def test_twenty_requests_at_a_time_share_the_poolers_two_connections(
    pooled_url: str, private_database_url: str
) -> None:
    settings = make_settings(pooled_url, db_pgbouncer=True, db_pool_size=10)

    async def one(number: int) -> list[Response]:
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

    async with client_of(settings) as client:
        for round_ in range(ROUNDS):
            numbers = range(round_ * AT_ONCE, (round_ + 1) * AT_ONCE)
            for answers in await asyncio.gather(*map(one, numbers)):
                assert [answer.status_code for answer in answers] == [201, 201, 200, 200, 200]
        assert (await get_json(client, "/books"))["total"] == ROUNDS * AT_ONCE
    direct = await asyncpg.connect(private_database_url)
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert await direct.fetchval(f"{mine} AND pid <> pg_backend_pid()") == SERVER_CONNECTIONS
    await direct.close()


@needs_pgbouncer
async def test_nothing_that_the_service_prepares_stays_on_the_poolers_connections(
    pooled_url: str,
) -> None:
    async with every_connection(pooled_url):
        pass  # so that the service's statements have more than one connection to run on
    settings = make_settings(pooled_url, db_pgbouncer=True)
    async with client_of(settings) as client:
        for _ in range(10):
            assert (await client.get("/authors")).status_code == 200
    left = "SELECT count(*) FROM pg_prepared_statements"
    async with every_connection(pooled_url) as connections:
        assert [await connection.fetchval(left) for connection in connections] == [0, 0]


@needs_pgbouncer
@pytest.mark.parametrize("transaction", [False, True])
async def test_behind_a_pooler_the_reporting_bind_refuses_to_write_and_the_default_does_not(
    pooled_url: str, transaction: bool
) -> None:
    async with opened(make_settings(pooled_url, db_pgbouncer=True)) as database:
        for _ in range(SERVER_CONNECTIONS + 1):
            assert await refused(database, transaction=transaction) == READ_ONLY
            # On the very connection, perhaps, that has just been read-only.
            await ask(database.writes, INSERT, name="Ursula")
        found = await ask(database.named_databases["reporting"].reads, NAMED, name="Ursula")
        assert found == f"{SERVER_CONNECTIONS + 1}"


@needs_pgbouncer
async def test_a_fresh_database_is_migrated_through_a_pooler(
    pooler: Path, template_url: str
) -> None:
    fresh = servers.with_database_name(template_url, f"bookshelf_test_{uuid4().hex[:12]}")
    await servers.recreate_database(fresh)
    pooled = pgbouncer_url(pooler, fresh)
    try:
        await asyncio.to_thread(schema.upgrade, servers.sqlalchemy_url(pooled))
        async with client_of(make_settings(pooled, db_pgbouncer=True)) as client:
            await make_book(client)
    finally:
        await servers.drop_database(fresh)


@needs_pgbouncer
async def test_without_the_setting_a_pooler_refuses_the_services_connections(
    pooled_url: str,
) -> None:
    async with client_of(make_settings(pooled_url)) as client:
        check_problem(await client.get("/authors"), 503, "unavailable")


@needs_pgbouncer
@pytest.mark.parametrize(("told", "statuses"), [(True, {200}), (False, {200, 500})])
async def test_without_the_setting_statements_are_missing_where_the_pooler_moves_them(
    private_database_url: str, told: bool, statuses: set[int]
) -> None:
    # A pooler that lets in who does not know of it, as many a guide says it should be set up.
    ignored = "statement_timeout,lock_timeout,default_transaction_read_only"
    with running_pgbouncer(private_database_url, ignored) as sockets:
        url = pgbouncer_url(sockets, private_database_url)
        async with every_connection(url):
            pass  # from now on there are two, and transactions alternate between them
        async with client_of(make_settings(url, db_pgbouncer=told, db_pool_size=1)) as client:
            answers = [await client.get("/authors") for _ in range(6)]
    assert {answer.status_code for answer in answers} == statuses
