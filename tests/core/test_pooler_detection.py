"""Poolers that DB_POOLER does not describe: responses are 503, and logs name the setting."""

import asyncpg
import pytest

from app.core.db._driver_connections import UniquelyNamingConnection
from tests.support.commands import exit_code_and_output
from tests.support.databases import open_client
from tests.support.factories import make_author
from tests.support.pgbouncer import needs_pgbouncer, needs_prepared_statements, running_pgbouncer
from tests.support.problems import check_problem
from tests.support.responses import get_json
from tests.support.settings import make_settings

# The tests of a pooler read the shared database, so they need no other one.
IGNORED_PARAMETERS = (
    "statement_timeout,lock_timeout,max_parallel_workers_per_gather,default_transaction_read_only"
)


async def check_unavailable(url: str, caplog: pytest.LogCaptureFixture, **settings: object) -> str:
    """Check that requests get status 503. Return the advice of /readyz, which is also logged."""
    async with open_client(make_settings(url, **settings)) as client:
        check_problem(await client.get("/authors"), 503, "unavailable")
        check_problem(await client.post("/authors", json={"name": "Ada"}), 503, "unavailable")
        response = await client.get("/readyz")
    check_problem(response, 503, "unavailable")
    advice = str(response.json()["detail"]).removeprefix("database: ")
    assert advice in caplog.text
    return advice


@needs_pgbouncer
async def test_pooler_that_refuses_settings_is_detected(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_pgbouncer(database_url) as pgbouncer:
        advice = await check_unavailable(pgbouncer.url(database_url), caplog)
    assert "set DB_POOLER to transaction-prepared" in advice


@needs_pgbouncer
async def test_pooler_that_ignores_settings_is_detected(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Many guides configure the pooler like this: it ignores parameters that it cannot set.
    with running_pgbouncer(database_url, ignore_startup_parameters=IGNORED_PARAMETERS) as pgbouncer:
        advice = await check_unavailable(pgbouncer.url(database_url), caplog)
    assert "ignores the settings of connections" in advice


@needs_prepared_statements
async def test_pooler_without_prepared_statements_is_detected(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_pgbouncer(database_url, max_prepared_statements="0") as pgbouncer:
        url = pgbouncer.url(database_url)
        advice = await check_unavailable(url, caplog, db_pooler="transaction-prepared")
    assert "set DB_POOLER to transaction" in advice


@needs_prepared_statements
async def test_requests_get_503_after_pooler_has_stopped_to_keep_prepared_statements(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_pgbouncer(database_url) as pgbouncer:
        settings = make_settings(pgbouncer.url(database_url), db_pooler="transaction-prepared")
        async with open_client(settings) as client:
            path = f"/authors/{(await make_author(client))['id']}"
            await get_json(client, path)
            await pgbouncer.execute("SET max_prepared_statements = 0")
            responses = [await client.get(path) for _ in range(3)]
            responses += [await client.patch(path, json={"dob": None}) for _ in range(3)]
    assert {response.status_code for response in responses} == {503}
    assert "DB_POOLER" in caplog.text


@needs_pgbouncer
async def test_command_names_setting_if_pooler_refuses_connection(database_url: str) -> None:
    with running_pgbouncer(database_url) as pgbouncer:
        url = pgbouncer.url(database_url)
        code, output = await exit_code_and_output("seed", DATABASE_URL=url)
    assert code == 1
    assert "set DB_POOLER to transaction-prepared" in output


async def test_prepared_statements_of_two_connections_have_different_names(
    database_url: str,
) -> None:
    names = []
    for _ in range(2):
        connection = await asyncpg.connect(database_url, connection_class=UniquelyNamingConnection)
        names.append(await connection.fetchval("SELECT name FROM pg_prepared_statements"))
        await connection.close()
    random_parts = [name.rpartition("__")[2] for name in names]
    assert len(set(random_parts)) == 2
    assert all(len(part) == 16 for part in random_parts)


@needs_pgbouncer
async def test_role_without_timeout_behind_pooler_is_logged_once(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running_pgbouncer(database_url) as pgbouncer:
        settings = make_settings(pgbouncer.url(database_url), db_pooler="transaction")
        async with open_client(settings) as client:
            for _ in range(3):
                await get_json(client, "/authors")
    assert caplog.text.count("the database role has no statement_timeout") == 1
