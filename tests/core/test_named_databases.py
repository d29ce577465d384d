"""The named databases, with a streaming standby."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.db import Database, Session
from app.core.errors import Unavailable
from tests.support.database_proxy import running_database_proxy
from tests.support.databases import open_client, open_database
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.replication import PrimaryAndStandby, running_primary_and_standby
from tests.support.rows import first_value
from tests.support.settings import make_settings

# The servers are slow to start: one process of the suite has them.
pytestmark = pytest.mark.private_database

READ_ONLY_SQLSTATE = "25006"  # read_only_sql_transaction
INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), :name) RETURNING id"
COUNT_AUTHORS_BY_NAME = "SELECT count(*) FROM authors WHERE name = :name"


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
