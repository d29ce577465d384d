"""The named databases, with a streaming standby and behind a transaction-mode PgBouncer."""

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

from app.core.db import Database, Session
from app.core.errors import Unavailable
from app.main import create_app
from app.settings import Settings
from app.users.passwords import PasswordHasher
from tests.support import servers
from tests.support.database_proxy import running_database_proxy
from tests.support.databases import open_database
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book, make_user
from tests.support.pgbouncer import PGBOUNCER, SERVER_CONNECTIONS, pgbouncer_url, running_pgbouncer
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.replication import PrimaryAndStandby, running_primary_and_standby
from tests.support.resources import replace_resources
from tests.support.responses import get_json
from tests.support.rows import first_value
from tests.support.settings import make_settings
from tests.support.streamed_lists import read_json_lines
from tests.support.upgrades import upgrade_schema

# The servers are slow to start: one process of the suite has them.
pytestmark = pytest.mark.private_database
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer is installed here")

READ_ONLY_SQLSTATE = "25006"  # read_only_sql_transaction
INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"
COUNT_AUTHORS_BY_NAME = "SELECT count(*) FROM authors WHERE name = :name"
# Without the workers of the server itself, such as those of autovacuum.
COUNT_OTHER_CLIENTS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
ROUNDS, CONCURRENT_REQUESTS = 6, 20


async def select_value(session: Session, sql: str, **values: str) -> str:
    """Execute a statement and return the only value of its result."""
    return first_value(await session.execute(text(sql), values))


async def sqlstate_of_reporting_write(database: Database, *, transaction: bool) -> str:
    """Return the SQLSTATE with which the reporting database refuses an INSERT."""

    async def write() -> None:
        if not transaction:
            await select_value(
                database.named_databases["reporting"].writes, INSERT_AUTHOR, name="forbidden"
            )
            return
        async with database.transaction(database_name="reporting") as session:
            await select_value(session, INSERT_AUTHOR, name="forbidden")

    with pytest.raises(DBAPIError) as raised:
        await write()
    assert await select_value(database.reads, COUNT_AUTHORS_BY_NAME, name="forbidden") == "0"
    return str(getattr(raised.value.driver_exception, "sqlstate", None))


@asynccontextmanager
async def open_client(
    settings: Settings, password_hasher: PasswordHasher | None = None
) -> AsyncIterator[AsyncClient]:
    """Run the service in this process, with a database object for these settings."""
    async with open_database(settings) as database:
        app = create_app(settings)
        replace_resources(app, database=database, password_hasher=password_hasher)
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


# A primary and its standby.


@pytest.fixture(scope="module")
def primary_and_standby() -> Iterator[PrimaryAndStandby]:
    with running_primary_and_standby() as both:
        yield both


@pytest.fixture
async def replicated_database(primary_and_standby: PrimaryAndStandby) -> AsyncIterator[Database]:
    reporting = SecretStr(primary_and_standby.standby_url)
    async with open_database(
        make_settings(primary_and_standby.primary_url, reporting_database_url=reporting)
    ) as database:
        yield database


async def test_reporting_database_reads_standby_and_default_reads_primary(
    replicated_database: Database,
) -> None:
    is_standby = "SELECT pg_is_in_recovery()"
    reporting = replicated_database.named_databases["reporting"]
    assert await select_value(replicated_database.reads, is_standby) == "False"
    assert await select_value(reporting.reads, is_standby) == "True"
    async with replicated_database.transaction() as session:
        assert await select_value(session, is_standby) == "False"
    async with replicated_database.transaction(database_name="reporting") as session:
        assert await select_value(session, is_standby) == "True"


async def test_reporting_database_has_rows_of_default_database_after_replication(
    primary_and_standby: PrimaryAndStandby, replicated_database: Database
) -> None:
    autocommit_name, transaction_name = uuid4().hex, uuid4().hex
    await select_value(replicated_database.writes, INSERT_AUTHOR, name=autocommit_name)
    async with replicated_database.transaction() as session:
        await select_value(session, INSERT_AUTHOR, name=transaction_name)
    await primary_and_standby.wait_until_caught_up()
    for name in (autocommit_name, transaction_name):
        assert (
            await select_value(
                replicated_database.named_databases["reporting"].reads,
                COUNT_AUTHORS_BY_NAME,
                name=name,
            )
            == "1"
        )
        async with replicated_database.transaction(database_name="reporting") as session:
            assert await select_value(session, COUNT_AUTHORS_BY_NAME, name=name) == "1"


@pytest.mark.parametrize("transaction", [False, True])
async def test_write_to_reporting_database_fails_on_standby(
    replicated_database: Database, transaction: bool
) -> None:
    assert (
        await sqlstate_of_reporting_write(replicated_database, transaction=transaction)
        == READ_ONLY_SQLSTATE
    )


async def test_default_database_works_while_standby_is_stopped(
    primary_and_standby: PrimaryAndStandby, replicated_database: Database
) -> None:
    reporting = replicated_database.named_databases["reporting"].reads
    assert await select_value(reporting, "SELECT 1") == "1"
    primary_and_standby.standby.stop()
    try:
        with pytest.raises(Unavailable):
            await select_value(reporting, "SELECT 1")
        with pytest.raises(Unavailable):
            async with replicated_database.transaction(database_name="reporting") as session:
                await select_value(session, "SELECT 1")
        new_name = uuid4().hex
        await select_value(replicated_database.writes, INSERT_AUTHOR, name=new_name)
        async with replicated_database.transaction() as session:
            assert await select_value(session, COUNT_AUTHORS_BY_NAME, name=new_name) == "1"
    finally:
        primary_and_standby.standby.start()
    await primary_and_standby.wait_until_caught_up()
    assert await select_value(reporting, COUNT_AUTHORS_BY_NAME, name=new_name) == "1"


async def test_write_reaches_primary_after_address_has_led_to_standby(
    primary_and_standby: PrimaryAndStandby,
) -> None:
    async with (
        running_database_proxy(primary_and_standby.standby_url) as address,
        open_client(make_settings(address.url)) as client,
    ):
        check_problem(await client.post("/authors", json={"name": "x"}), 503, "unavailable")
        address.lead_to(primary_and_standby.primary_url)
        await make_author(client)


async def test_readyz_follows_address_from_standby_to_primary(
    primary_and_standby: PrimaryAndStandby,
) -> None:
    async with (
        running_database_proxy(primary_and_standby.standby_url) as address,
        open_client(make_settings(address.url)) as client,
    ):
        assert (await client.get("/authors")).status_code == 200
        response = await client.get("/readyz")
        check_problem(response, 503, "unavailable")
        assert response.json()["detail"] == "database: is read-only"
        address.lead_to(primary_and_standby.primary_url)
        assert (await client.get("/readyz")).status_code == 200
        # The connection of the first request led to the standby.
        await make_author(client)


# Without REPORTING_DATABASE_URL.


async def test_reporting_database_is_read_only_default_database_when_url_is_not_set(
    database: Database,
) -> None:
    reporting = database.named_databases["reporting"]
    current_database = "SELECT current_database()"
    assert await select_value(reporting.reads, current_database) == await select_value(
        database.reads, current_database
    )
    assert await select_value(reporting.reads, "SHOW default_transaction_read_only") == "on"
    assert await select_value(database.reads, "SHOW default_transaction_read_only") == "off"
    await select_value(database.writes, INSERT_AUTHOR, name="Ursula")
    assert await select_value(reporting.reads, COUNT_AUTHORS_BY_NAME, name="Ursula") == "1"
    async with database.transaction(database_name="reporting") as session:
        assert await select_value(session, COUNT_AUTHORS_BY_NAME, name="Ursula") == "1"


@pytest.mark.parametrize("transaction", [False, True])
async def test_write_to_reporting_database_fails_when_url_is_not_set(
    database: Database, transaction: bool
) -> None:
    assert (
        await sqlstate_of_reporting_write(database, transaction=transaction) == READ_ONLY_SQLSTATE
    )


# Behind a transaction-mode pooler.


@pytest.fixture(scope="module")
def pooler(template_url: str) -> Iterator[Path]:
    with running_pgbouncer(template_url) as sockets:
        yield sockets


@pytest.fixture
def pooled_url(pooler: Path, private_database_url: str) -> str:
    return pgbouncer_url(pooler, private_database_url)


@asynccontextmanager
async def hold_all_connections(url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    """Hold all of the pooler's connections to the server, each in a transaction."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(SERVER_CONNECTIONS):
            connection = await asyncpg.connect(url, statement_cache_size=0)
            stack.push_async_callback(connection.close)
            await stack.enter_async_context(connection.transaction())
            connections.append(connection)
        yield connections


@needs_pgbouncer
async def test_requests_succeed_behind_transaction_pooler(pooled_url: str) -> None:
    environment = {"DATABASE_URL": pooled_url, "DB_PGBOUNCER": "true", "DB_POOL_SIZE": "10"}
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
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


@needs_pgbouncer
async def test_constraint_errors_name_their_cause_behind_transaction_pooler(
    pooled_url: str, password_hasher: PasswordHasher
) -> None:
    async with open_client(make_settings(pooled_url, db_pgbouncer=True), password_hasher) as client:
        book, user = await make_book(client), await make_user(client)
        body = {"name": "Another", "email": user["email"].upper(), "password": "correct horse"}
        for _ in range(SERVER_CONNECTIONS + 1):  # failed requests leave connections usable
            orphan = await client.post("/books", json={"title": "Anon", "author_id": UNKNOWN_ID})
            assert field_error_locations(orphan) == [{"pointer": "/author_id"}]
            response = await client.delete(f"/authors/{book['author_id']}")
            check_problem(response, 409, "author-has-books")
            check_problem(await client.post("/users", json=body), 409, "email-taken")
        assert (await get_json(client, f"/books/{book['id']}")) == book


@needs_pgbouncer
async def test_batches_and_streams_succeed_behind_transaction_pooler(pooled_url: str) -> None:
    async with open_client(make_settings(pooled_url, db_pgbouncer=True)) as client:
        author = (await make_author(client))["id"]
        books: list[Json] = []
        for _round in range(SERVER_CONNECTIONS + 1):
            items = [{"title": f"Book {n}", "author_id": author} for n in range(250)]
            response = await client.post("/books/batch", json={"items": items})
            assert response.status_code == 201
            books += response.json()["items"]
            assert await read_json_lines(client, f"/books?author_id={author}&q=book") == books


@needs_pgbouncer
async def test_twenty_concurrent_requests_share_two_connections_of_pooler(
    pooled_url: str, private_database_url: str
) -> None:
    settings = make_settings(
        pooled_url,
        db_pgbouncer=True,
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
        assert (await get_json(client, "/books"))["total"] == ROUNDS * CONCURRENT_REQUESTS
    connection_to_server = await asyncpg.connect(private_database_url)
    assert await connection_to_server.fetchval(COUNT_OTHER_CLIENTS) == SERVER_CONNECTIONS
    await connection_to_server.close()


@needs_pgbouncer
async def test_no_prepared_statement_remains_on_connections_of_pooler(pooled_url: str) -> None:
    async with hold_all_connections(pooled_url):
        pass  # opens all connections, so that statements run on more than one
    settings = make_settings(pooled_url, db_pgbouncer=True)
    async with open_client(settings) as client:
        for _ in range(10):
            assert (await client.get("/authors")).status_code == 200
    count_prepared = "SELECT count(*) FROM pg_prepared_statements"
    async with hold_all_connections(pooled_url) as connections:
        assert [await connection.fetchval(count_prepared) for connection in connections] == [0, 0]


@needs_pgbouncer
@pytest.mark.parametrize("transaction", [False, True])
async def test_only_reporting_database_is_read_only_behind_transaction_pooler(
    pooled_url: str, transaction: bool
) -> None:
    async with open_database(make_settings(pooled_url, db_pgbouncer=True)) as database:
        for _ in range(SERVER_CONNECTIONS + 1):
            assert (
                await sqlstate_of_reporting_write(database, transaction=transaction)
                == READ_ONLY_SQLSTATE
            )
            # This may run on the connection that was read-only before.
            await select_value(database.writes, INSERT_AUTHOR, name="Ursula")
        number_of_authors = await select_value(
            database.named_databases["reporting"].reads, COUNT_AUTHORS_BY_NAME, name="Ursula"
        )
        assert number_of_authors == f"{SERVER_CONNECTIONS + 1}"


@needs_pgbouncer
async def test_migrations_succeed_through_transaction_pooler(
    pooler: Path, template_url: str
) -> None:
    empty_url = servers.with_database_name(template_url, f"bookshelf_test_{uuid4().hex[:12]}")
    await servers.recreate_database(empty_url)
    pooled_empty_url = pgbouncer_url(pooler, empty_url)
    try:
        await upgrade_schema(pooled_empty_url)
        async with open_client(make_settings(pooled_empty_url, db_pgbouncer=True)) as client:
            await make_book(client)
    finally:
        await servers.drop_database(empty_url)


@needs_pgbouncer
async def test_requests_return_503_behind_pooler_when_setting_is_off(pooled_url: str) -> None:
    async with open_client(make_settings(pooled_url)) as client:
        check_problem(await client.get("/authors"), 503, "unavailable")


@needs_pgbouncer
@pytest.mark.parametrize(("pooler_setting", "statuses"), [(True, {200}), (False, {200, 500})])
async def test_prepared_statements_are_lost_behind_pooler_only_when_setting_is_off(
    private_database_url: str, pooler_setting: bool, statuses: set[int]
) -> None:
    # Many guides configure the pooler like this: it ignores parameters that it cannot set.
    ignored_parameters = "statement_timeout,lock_timeout,default_transaction_read_only"
    with running_pgbouncer(private_database_url, ignored_parameters) as sockets:
        url = pgbouncer_url(sockets, private_database_url)
        async with hold_all_connections(url):
            pass  # opens two connections, between which transactions then alternate
        async with open_client(
            make_settings(url, db_pgbouncer=pooler_setting, db_pool_size=1)
        ) as client:
            responses = [await client.get("/authors") for _ in range(6)]
    assert {response.status_code for response in responses} == statuses
