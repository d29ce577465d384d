"""Connections to PgBouncer in transaction mode: their statements, and how they are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from app.core.db import Database
from tests.support.databases import open_client, open_database
from tests.support.factories import make_author
from tests.support.pgbouncer import PREPARED, SERVER_CONNECTIONS, PgBouncer, needs_pgbouncer
from tests.support.rows import first_value
from tests.support.settings import make_settings

pytestmark = [pytest.mark.private_database, needs_pgbouncer]


async def terminate_connections(url: str) -> None:
    """Terminate all connections to a database."""
    connection = await asyncpg.connect(url)
    await connection.execute("""
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """)
    await connection.close()


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


async def names_of_prepared_statements(pooled_url: str) -> list[list[str]]:
    """Return the names of all prepared statements on each connection of the pooler."""
    select_names = "SELECT name FROM pg_prepared_statements"
    async with hold_all_connections(pooled_url) as connections:
        return [
            [row["name"] for row in await connection.fetch(select_names)]
            for connection in connections
        ]


@pytest.mark.parametrize("pooler", ["transaction"])
async def test_no_prepared_statement_remains_on_connections_of_pooler(
    pgbouncer: PgBouncer, pooled_url: str, pooler: str
) -> None:
    await pgbouncer.execute("RECONNECT")  # closes connections with statements of other tests
    async with hold_all_connections(pooled_url):
        pass  # opens all connections, so that statements run on more than one
    async with open_client(make_settings(pooled_url, db_pooler=pooler)) as client:
        for _ in range(10):
            assert (await client.get("/authors")).status_code == 200
    assert await names_of_prepared_statements(pooled_url) == [[], []]


@pytest.mark.parametrize("pooler", [PREPARED])
async def test_pooler_keeps_prepared_statements_on_all_of_its_connections(
    pooled_url: str, pooler: str
) -> None:
    async with hold_all_connections(pooled_url):
        pass  # opens all connections, so that statements run on more than one
    async with open_client(make_settings(pooled_url, db_pooler=pooler)) as client:
        for _ in range(10):
            assert (await client.get("/authors")).status_code == 200
    for names in await names_of_prepared_statements(pooled_url):
        assert names
        assert all(name.startswith("PGBOUNCER_") for name in names)


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_only_reporting_database_is_read_only_behind_transaction_pooler(
    pooled_url: str, pooler: str, in_transaction: bool
) -> None:
    name = f"{pooler} {in_transaction}"
    insert_author = text(f"INSERT INTO authors (id, name) VALUES (gen_random_uuid(), '{name}')")

    async def write(database: Database) -> None:
        if not in_transaction:
            await database.named_databases["reporting"].writes.execute(insert_author)
            return
        async with database.transaction(database_name="reporting") as session:
            await session.execute(insert_author)

    async with open_database(make_settings(pooled_url, db_pooler=pooler)) as database:
        for _ in range(SERVER_CONNECTIONS + 1):
            with pytest.raises(DBAPIError, match="read-only transaction"):
                await write(database)
            # This may run on the connection that was read-only before.
            await database.writes.execute(insert_author)
        reporting = database.named_databases["reporting"]
        rows = await reporting.reads.execute(
            text(f"SELECT count(*) FROM authors WHERE name = '{name}'")
        )
        assert first_value(rows) == f"{SERVER_CONNECTIONS + 1}"


async def test_transactions_have_isolation_level_of_database_behind_transaction_pooler(
    pgbouncer: PgBouncer, pooler: str, private_database_url: str
) -> None:
    connection = await asyncpg.connect(private_database_url)
    await connection.execute(
        f'ALTER DATABASE "{make_url(private_database_url).database}"'
        " SET default_transaction_isolation = serializable"
    )
    await connection.close()
    show_level = text("SHOW transaction_isolation")
    settings = make_settings(pgbouncer.url(private_database_url), db_pooler=pooler)
    levels = []
    async with open_database(settings) as database:
        for name in ("default", "reporting"):
            # The second transaction uses a connection that was returned to the pool.
            for _ in range(2):
                async with database.transaction(name) as session:
                    levels.append(first_value(await session.execute(show_level)))
            levels.append(
                first_value(await database.named_databases[name].reads.execute(show_level))
            )
    assert set(levels) == {"serializable"}


@pytest.mark.parametrize("pooler", [PREPARED])
async def test_requests_succeed_after_migration_has_changed_types_of_columns(
    pgbouncer: PgBouncer, pooler: str, private_database_url: str
) -> None:
    settings = make_settings(pgbouncer.url(private_database_url), db_pooler=pooler)
    async with open_client(settings) as client:
        author = await make_author(client)
        path, key = f"/authors/{author['id']}", {"Idempotency-Key": "key"}

        async def send_requests(number: int) -> list[int]:
            responses = [
                await client.get(path),
                await client.get("/authors"),
                await client.patch(
                    path, json={"name": f"Name {number}"}, headers={"If-Match": "*"}
                ),
                await client.post("/authors", json={"name": f"{number}"}, headers=key),
            ]
            return [response.status_code for response in responses]

        assert await send_requests(1) == [200, 200, 200, 201]
        connection = await asyncpg.connect(private_database_url)
        await connection.execute("ALTER TABLE authors ALTER created_at TYPE timestamptz(3)")
        await connection.close()
        for number in range(2, 5):
            key["Idempotency-Key"] = f"key-{number}"
            assert await send_requests(number) == [200, 200, 200, 201]


@pytest.mark.parametrize("pooler", [PREPARED])
@pytest.mark.parametrize("interruption", ["RECONNECT", "KILL", "restart", "terminate"])
async def test_reads_succeed_and_writes_recover_after_pooler_has_lost_connections(
    pgbouncer: PgBouncer, pooled_url: str, pooler: str, direct_url: str, interruption: str
) -> None:
    database_name = make_url(direct_url).database
    async with open_client(make_settings(pooled_url, db_pooler=pooler, db_pool_size=4)) as client:
        path = f"/authors/{(await make_author(client))['id']}"
        await asyncio.gather(*(client.get(path) for _ in range(8)))
        match interruption:
            case "RECONNECT":
                await pgbouncer.execute("RECONNECT")
            case "KILL":
                await pgbouncer.execute(f"KILL {database_name}")
                await pgbouncer.execute(f"RESUME {database_name}")
            case "restart":
                pgbouncer.stop()
                pgbouncer.start()
            case "terminate":
                await terminate_connections(direct_url)
        responses = await asyncio.gather(*(client.get(path) for _ in range(8)))
        assert {response.status_code for response in responses} == {200}
        await make_author(client)
