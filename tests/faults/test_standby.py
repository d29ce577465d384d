"""Reports from a standby that lags, loses its primary, goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
import pytest
from httpx import AsyncClient
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from app.core.db import Database
from app.core.errors import Unavailable
from app.core.storage import Storage
from app.reports.schemas import UserCountQuery
from app.reports.service import ReportService
from tests.support import database_activity, postgres_server
from tests.support.app_clients import client_with_settings
from tests.support.databases import open_database
from tests.support.metrics import scrape_metrics
from tests.support.problems import check_problem
from tests.support.processes import poll_until
from tests.support.replication import DATABASE, PrimaryAndStandby, running_primary_and_standby
from tests.support.running_service import RunningService, running_service
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

pytestmark = pytest.mark.slow

PATH = "/reports/user-counts"
# Like the role of deploy/reporting_role.sql, it may not see the details of the replication.
REPORTS_ROLE = "reports"
CREATE_REPORTS_ROLE = f"""
CREATE ROLE {REPORTS_ROLE} LOGIN;
GRANT SELECT ON user_counts TO {REPORTS_ROLE};
"""
STORE_COUNT = """
INSERT INTO user_counts (day, count) VALUES (current_date, 1)
ON CONFLICT (day) DO UPDATE SET count = user_counts.count + 1
"""
LAST_COMMIT = "SELECT pg_last_xact_replay_timestamp()"
COUNT_RECEIVERS = "SELECT count(*) FROM pg_stat_wal_receiver WHERE pid IS NOT NULL"
HAS_UNREPLAYED_WAL = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
# A directory without a socket.
NO_SERVER = "/nonexistent"
STANDBY_PARAMETERS = {
    # Without a message for this time, the primary is gone. The standby asks for one after half.
    "wal_receiver_timeout": "200ms",
    # The time between attempts to connect to the primary.
    "wal_retrieve_retry_interval": "50ms",
    # Cancel queries immediately that would delay the replication.
    "max_standby_streaming_delay": "0",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[PrimaryAndStandby]:
    """A primary, and a standby from which reports are read."""
    with running_primary_and_standby() as both:
        yield both


@pytest.fixture(scope="module")
def reporting_url(servers: PrimaryAndStandby) -> str:
    """The URL of the standby with a role that only reads reports."""
    return url_with_role(servers.standby_url, REPORTS_ROLE)


@pytest.fixture(scope="module")
async def service(servers: PrimaryAndStandby, reporting_url: str) -> AsyncIterator[RunningService]:
    """A server process that reads reports from the standby."""
    primary = await asyncpg.connect(servers.primary_url)
    await primary.execute(CREATE_REPORTS_ROLE)
    await primary.close()
    await servers.wait_until_caught_up()
    async with running_service(
        servers.primary_url, prefix="faults/standby/", REPORTING_DATABASE_URL=reporting_url
    ) as service:
        yield service


@pytest.fixture
async def primary(servers: PrimaryAndStandby) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(servers.primary_url)
    yield connection
    await connection.close()


@pytest.fixture
async def standby(servers: PrimaryAndStandby) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(servers.standby_url)
    for name, value in STANDBY_PARAMETERS.items():
        await set_parameter(connection, name, value)
    yield connection
    await connection.close()


def url_with_role(url: str, role: str) -> str:
    """Return the URL of a database with another role."""
    return make_url(url).set(username=role).render_as_string(hide_password=False)


async def set_parameter(connection: asyncpg.Connection, name: str, value: str) -> None:
    """Change a parameter of the server of a connection, until it is changed again."""
    await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.execute("SELECT pg_reload_conf()")
    await database_activity.wait_for_query_result(
        value.replace("''", "'"), connection, f"SHOW {name}"
    )


async def commit(primary: asyncpg.Connection) -> datetime:
    """Commit a change of a report, and return the time before the commit."""
    before: datetime = await primary.fetchval("SELECT clock_timestamp()")
    await primary.execute(STORE_COUNT)
    return before


@asynccontextmanager
async def disconnected_standby(standby: asyncpg.Connection) -> AsyncIterator[None]:
    """Make the standby lose its primary, until the block ends."""
    address = await standby.fetchval("SHOW primary_conninfo")
    await set_parameter(standby, "primary_conninfo", f"host={NO_SERVER}")
    await database_activity.wait_for_query_result(0, standby, COUNT_RECEIVERS)
    yield
    await set_parameter(standby, "primary_conninfo", address.replace("'", "''"))


async def read_data_time(client: AsyncClient, query: str = "") -> datetime:
    """Return the time that a report states for its data."""
    response = await client.get(PATH + query)
    assert response.status_code == 200, response.text
    return datetime.fromisoformat(response.headers["data-as-of"])


async def read_data_time_as(url: str) -> datetime | None:
    """Return the time of the data of a report that is read from the database with a URL."""
    settings = make_settings(UNREACHABLE_DATABASE_URL, reporting_database_url=SecretStr(url))
    async with open_database(settings) as database:
        session = database.named_databases["reporting"].reads
        page = await ReportService(session, may_be_copy=True).page_user_counts(UserCountQuery())
        return page.data_as_of


@pytest.mark.parametrize("query", ["", "?count=none", "?count=none&page=9"])
async def test_report_from_connected_standby_has_all_commits_that_it_has_replayed(
    servers: PrimaryAndStandby, service: RunningService, primary: asyncpg.Connection, query: str
) -> None:
    time_before_commit = await commit(primary)
    await servers.wait_until_caught_up()
    data_time = await read_data_time(service.client, query)
    assert time_before_commit < data_time <= datetime.now(UTC)


@pytest.mark.parametrize("role", ["postgres", REPORTS_ROLE])
async def test_report_does_not_age_while_primary_is_idle(
    servers: PrimaryAndStandby, primary: asyncpg.Connection, standby: asyncpg.Connection, role: str
) -> None:
    await commit(primary)
    await servers.wait_until_caught_up()
    url = url_with_role(servers.standby_url, role)

    async def is_later_than_last_commit() -> bool:
        data_time = await read_data_time_as(url)
        last_commit: datetime = await standby.fetchval(LAST_COMMIT)
        return data_time is not None and data_time > last_commit

    await poll_until(is_later_than_last_commit)


@pytest.mark.parametrize("role", ["postgres", REPORTS_ROLE])
async def test_report_ages_while_standby_has_lost_its_primary(
    servers: PrimaryAndStandby, primary: asyncpg.Connection, standby: asyncpg.Connection, role: str
) -> None:
    await commit(primary)
    await servers.wait_until_caught_up()
    last_commit = await standby.fetchval(LAST_COMMIT)
    async with disconnected_standby(standby):
        await commit(primary)
        assert await read_data_time_as(url_with_role(servers.standby_url, role)) == last_commit
    await servers.wait_until_caught_up()


@pytest.mark.parametrize("role", ["postgres", REPORTS_ROLE])
async def test_report_ages_while_standby_does_not_replay_changes(
    servers: PrimaryAndStandby, primary: asyncpg.Connection, standby: asyncpg.Connection, role: str
) -> None:
    await commit(primary)
    await servers.wait_until_caught_up()
    last_commit = await standby.fetchval(LAST_COMMIT)
    await standby.execute("SELECT pg_wal_replay_pause()")
    await commit(primary)
    await database_activity.wait_for_query_result(True, standby, HAS_UNREPLAYED_WAL)
    assert await read_data_time_as(url_with_role(servers.standby_url, role)) == last_commit
    await standby.execute("SELECT pg_wal_replay_resume()")
    await servers.wait_until_caught_up()


async def test_report_from_aurora_does_not_say_how_old_it_is(
    servers: PrimaryAndStandby, primary: asyncpg.Connection
) -> None:
    # Aurora has this function. Its replicas are standbys without WAL.
    await primary.execute("CREATE FUNCTION aurora_version() RETURNS text RETURN '17.4'")
    await servers.wait_until_caught_up()
    assert await read_data_time_as(servers.standby_url) is None
    await primary.execute("DROP FUNCTION aurora_version()")


async def test_age_of_reports_is_a_metric(service: RunningService) -> None:
    data_time = await read_data_time(service.client)
    metrics = await scrape_metrics(service.metrics_port)
    age = datetime.now(UTC) - data_time
    assert 0 <= metrics['report_data_age_seconds{database="reporting"}'] <= age.total_seconds()


async def test_only_reports_return_503_while_standby_is_stopped(
    servers: PrimaryAndStandby, service: RunningService
) -> None:
    servers.standby.stop()
    try:
        response = await service.client.get(PATH)
        check_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        for path in ("/readyz", "/authors"):
            assert (await service.client.get(path)).status_code == 200
    finally:
        servers.standby.start()
    assert (await service.client.get(PATH)).status_code == 200


async def test_conflict_with_replication_is_unavailable_and_not_a_conflict_of_clients(
    servers: PrimaryAndStandby, primary: asyncpg.Connection, standby: asyncpg.Connection
) -> None:
    url = SecretStr(servers.standby_url)

    async def read_slowly(database: Database) -> None:
        async with database.transaction("reporting") as session:
            await session.execute(
                text("SELECT pg_sleep(60) FROM (SELECT FROM user_counts LIMIT 1)")
            )

    await commit(primary)
    await servers.wait_until_caught_up()
    async with open_database(
        make_settings(servers.primary_url, reporting_database_url=url)
    ) as database:
        report = asyncio.create_task(read_slowly(database))
        await database_activity.wait_for_query_result(1, standby, database_activity.COUNT_SLEEPING)
        async with primary.transaction():
            await primary.execute("LOCK TABLE user_counts IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable) as raised:
            await report
    assert isinstance(raised.value.__cause__, DBAPIError)
    assert isinstance(raised.value.__cause__.driver_exception, asyncpg.SerializationError)


async def test_standby_serves_reads_until_it_replaces_killed_primary_without_lost_writes(
    servers: PrimaryAndStandby, primary: asyncpg.Connection, storage: Storage
) -> None:
    await set_parameter(primary, "synchronous_standby_names", "*")
    hosts = f"host={servers.standby.socket_dir},{servers.primary.socket_dir}"
    url = f"postgresql://postgres@/{DATABASE}?{hosts}"
    names = [f"author {number}" for number in range(20)]
    async with (
        open_database(make_settings(url)) as database,
        client_with_settings(url, database, storage) as client,
    ):
        for name in names[:10]:
            await create_author(client, name)
        postgres_server.kill_postgres(servers.primary.data_dir)
        await check_only_reads_succeed(client)
        standby = await asyncpg.connect(servers.standby_url)
        await standby.execute("SELECT pg_promote()")
        for name in names[10:]:
            await create_author(client, name)
    rows = await standby.fetch("SELECT name FROM authors WHERE name LIKE 'author %'")
    await standby.close()
    assert sorted(row["name"] for row in rows) == sorted(names)


async def check_only_reads_succeed(client: AsyncClient) -> None:
    """Check that a standby serves reads, and that writes and readiness checks say what is wrong."""
    # The first statement may find a connection that is lost.
    for _ in range(3):
        assert (await client.get("/authors")).status_code == 200
    response = await client.post("/authors", json={"name": "Ursula"})
    problem = check_problem(response, 503, "unavailable")
    assert problem["detail"] == "The database does not accept writes at the moment. Retry later."

    async def has_noticed_standby() -> bool:
        problem = check_problem(await client.get("/readyz"), 503, "unavailable")
        detail: str = problem["detail"]
        return detail == "database: is read-only"

    # The first check loads the client of the object store.
    await poll_until(has_noticed_standby)


async def create_author(client: AsyncClient, name: str) -> None:
    """Create an author. Repeat the request with the same key until it succeeds."""

    async def is_created() -> bool:
        response = await client.post(
            "/authors", json={"name": name}, headers={"Idempotency-Key": name.replace(" ", "-")}
        )
        assert response.status_code in {201, 503}, response.text
        return response.status_code == 201

    await poll_until(is_created)
