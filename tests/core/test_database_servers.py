"""Databases on a real primary and a real standby: URLs with several hosts, reports, failovers."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from alembic.util import CommandError
from pydantic import SecretStr
from sqlalchemy import text

from app import schema
from app.core.db import Database
from app.core.errors import Unavailable
from app.database_url import to_sqlalchemy_url
from app.embedded.postgresql import get_program_path
from app.embedded.processes import CLEAN_ENVIRONMENT
from tests.support.commands import invoke_command
from tests.support.database_proxy import running_database_proxy
from tests.support.databases import open_client, open_database
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.replication import DATABASE, PrimaryAndStandby, running_primary_and_standby
from tests.support.rows import first_value
from tests.support.settings import make_settings
from tools.psql import connection_variables

# The servers are slow to start: one process of the suite has them.
pytestmark = pytest.mark.private_database

BINDS = ("default", "reporting", "readiness")
INSERT_AUTHOR = "INSERT INTO authors (id, name) VALUES (gen_random_uuid(), 'Without standby')"
COUNT_AUTHORS = "SELECT count(*) FROM authors WHERE name = 'Without standby'"
# How long a host may take to accept a connection in these tests.
SHORT_TIMEOUT = 0.5


@dataclass(frozen=True)
class Servers:
    """A primary and its standby, and the hosts of both for URLs: directories of Unix sockets."""

    both: PrimaryAndStandby

    @property
    def primary(self) -> str:
        return quote(str(self.both.primary.socket_dir), safe="")

    @property
    def standby(self) -> str:
        return quote(str(self.both.standby.socket_dir), safe="")

    @property
    def hosts(self) -> str:
        return f"{self.standby},{self.primary}"

    def url(self, hosts: str, parameters: str = "") -> str:
        """Return the URL of the database on a list of hosts."""
        return f"postgresql://postgres@{hosts}/{DATABASE}?{parameters}"


@pytest.fixture(scope="module")
def db_servers() -> Iterator[Servers]:
    with running_primary_and_standby() as both:
        yield Servers(both)


async def select_value(database: Database, sql: str, bind: str = "default") -> str:
    """Execute a statement, and return the only value of its result."""
    return first_value(await database.named_databases[bind].reads.execute(text(sql)))


async def find_role(url: str, bind: str = "default") -> str:
    """Return "primary" or "standby" for the server to which a bind connects."""
    async with open_database(make_settings(url)) as database:
        is_standby = await select_value(database, "SELECT pg_is_in_recovery()", bind)
    return "standby" if is_standby == "True" else "primary"


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server that accepts connections, and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


# Several hosts.


@pytest.mark.parametrize("bind", BINDS)
@pytest.mark.parametrize(
    ("session_attrs", "role"),
    [
        ("read-write", "primary"),
        ("primary", "primary"),
        ("read-only", "standby"),
        ("standby", "standby"),
        ("prefer-standby", "standby"),
    ],
)
async def test_every_bind_connects_to_first_host_with_required_role(
    db_servers: Servers, bind: str, session_attrs: str, role: str
) -> None:
    url = db_servers.url(db_servers.hosts, f"target_session_attrs={session_attrs}")
    assert await find_role(url, bind) == role


@pytest.mark.parametrize(
    ("bind", "role"), [("default", "primary"), ("readiness", "primary"), ("reporting", "standby")]
)
@pytest.mark.parametrize("parameters", ["", "target_session_attrs=any"])
async def test_only_reports_use_first_host_if_no_role_is_required(
    db_servers: Servers, bind: str, role: str, parameters: str
) -> None:
    assert await find_role(db_servers.url(db_servers.hosts, parameters), bind) == role


async def test_standby_serves_reads_and_refuses_writes_while_primary_is_down(
    db_servers: Servers,
) -> None:
    url = db_servers.url(f"127.0.0.1:1,{db_servers.standby}")
    async with open_database(make_settings(url)) as database:
        assert await select_value(database, "SELECT pg_is_in_recovery()") == "True"
        with pytest.raises(Unavailable, match="does not accept writes"):
            await database.writes.execute(text("DELETE FROM authors"))


async def test_standby_serves_reads_while_primary_does_not_respond(db_servers: Servers) -> None:
    with silent_server() as port:
        url = db_servers.url(f"127.0.0.1:{port},{db_servers.standby}")
        settings = make_settings(url, db_pool_timeout=SHORT_TIMEOUT)
        async with open_database(settings) as database:
            assert await select_value(database, "SELECT pg_is_in_recovery()") == "True"


@pytest.mark.parametrize("bind", BINDS)
@pytest.mark.parametrize("role", ["primary", "read-write"])
async def test_bind_fails_if_no_host_has_required_role(
    db_servers: Servers, bind: str, role: str
) -> None:
    url = db_servers.url(f"127.0.0.1:1,{db_servers.standby}", f"target_session_attrs={role}")
    with pytest.raises(Unavailable):
        await find_role(url, bind)


async def test_preferred_standby_is_replaced_by_primary_if_there_is_none(
    db_servers: Servers,
) -> None:
    url = db_servers.url(f"127.0.0.1:1,{db_servers.primary}", "target_session_attrs=prefer-standby")
    assert await find_role(url) == "primary"


async def test_each_bind_keeps_its_own_read_only_default(db_servers: Servers) -> None:
    url = db_servers.url(db_servers.hosts, "target_session_attrs=read-write")
    async with open_database(make_settings(url)) as database:
        show = "SHOW default_transaction_read_only"
        assert await select_value(database, show, "default") == "off"
        assert await select_value(database, show, "reporting") == "on"


async def test_unreachable_host_is_skipped(db_servers: Servers) -> None:
    assert await find_role(db_servers.url(f"127.0.0.1:1,{db_servers.primary}")) == "primary"


async def test_host_that_never_responds_is_skipped(db_servers: Servers) -> None:
    with silent_server() as port:
        url = db_servers.url(f"127.0.0.1:{port},{db_servers.primary}")
        settings = make_settings(url, db_pool_timeout=SHORT_TIMEOUT)
        async with open_database(settings) as database:
            assert await select_value(database, "SELECT 1") == "1"


async def test_error_names_each_host_that_failed(db_servers: Servers) -> None:
    url = db_servers.url(f"127.0.0.1:1,{db_servers.primary}", "target_session_attrs=standby")
    async with open_database(make_settings(url)) as database:
        with pytest.raises(Unavailable) as raised:
            await select_value(database, "SELECT 1")
    causes = str(raised.value.__cause__)
    assert "127.0.0.1:1: " in causes
    assert f"{db_servers.both.primary.socket_dir}:5432: None of the hosts match" in causes


async def test_load_is_balanced_between_hosts_in_random_order(db_servers: Servers) -> None:
    url = db_servers.url(db_servers.hosts, "load_balance_hosts=random")
    roles: set[str] = set()
    for _ in range(50):
        roles.add(await find_role(url, "reporting"))
        if len(roles) == 2:
            break
    assert roles == {"primary", "standby"}


# A standby for reports.


@pytest.fixture
async def replicated_database(db_servers: Servers) -> AsyncIterator[Database]:
    settings = make_settings(
        db_servers.url(db_servers.hosts, "target_session_attrs=read-write"),
        reporting_database_url=SecretStr(
            db_servers.url(db_servers.hosts, "target_session_attrs=prefer-standby")
        ),
    )
    async with open_database(settings) as database:
        yield database


@pytest.mark.parametrize("bind", BINDS)
async def test_reporting_database_uses_standby_while_others_use_primary(
    replicated_database: Database, bind: str
) -> None:
    is_standby = "SELECT pg_is_in_recovery()"
    expected = str(bind == "reporting")
    assert await select_value(replicated_database, is_standby, bind) == expected
    async with replicated_database.transaction(bind) as session:
        assert first_value(await session.execute(text(is_standby))) == expected


async def test_default_database_works_while_standby_is_stopped(db_servers: Servers) -> None:
    settings = make_settings(
        db_servers.both.primary_url, reporting_database_url=SecretStr(db_servers.both.standby_url)
    )
    async with open_database(settings) as database:
        assert await select_value(database, "SELECT 1", "reporting") == "1"
        db_servers.both.standby.stop()
        try:
            with pytest.raises(Unavailable):
                await select_value(database, "SELECT 1", "reporting")
            with pytest.raises(Unavailable):
                async with database.transaction("reporting") as session:
                    await session.execute(text("SELECT 1"))
            await database.writes.execute(text(INSERT_AUTHOR))
            async with database.transaction() as session:
                assert first_value(await session.execute(text(COUNT_AUTHORS))) == "1"
        finally:
            db_servers.both.standby.start()
        await db_servers.both.wait_until_caught_up()
        assert await select_value(database, COUNT_AUTHORS, "reporting") == "1"


# An address that leads to a standby at first.


async def test_write_reaches_primary_after_address_has_led_to_standby(db_servers: Servers) -> None:
    async with (
        running_database_proxy(db_servers.both.standby_url) as address,
        open_client(make_settings(address.url)) as client,
    ):
        check_problem(await client.post("/authors", json={"name": "x"}), 503, "unavailable")
        address.lead_to(db_servers.both.primary_url)
        await make_author(client)


async def test_readyz_follows_address_from_standby_to_primary(db_servers: Servers) -> None:
    async with (
        running_database_proxy(db_servers.both.standby_url) as address,
        open_client(make_settings(address.url)) as client,
    ):
        assert (await client.get("/authors")).status_code == 200
        response = await client.get("/readyz")
        check_problem(response, 503, "unavailable")
        assert response.json()["detail"] == "database: is read-only"
        address.lead_to(db_servers.both.primary_url)
        assert (await client.get("/readyz")).status_code == 200
        # The connection of the first request led to the standby.
        await make_author(client)


# Parameters.


async def test_parameters_of_url_become_settings_of_connection(db_servers: Servers) -> None:
    url = db_servers.url(
        db_servers.primary, "application_name=night%20shift&options=-c%20work_mem%3D5MB"
    )
    async with open_database(make_settings(url)) as database:
        assert await select_value(database, "SHOW application_name") == "night shift"
        assert await select_value(database, "SHOW work_mem") == "5MB"
        assert await select_value(database, "SHOW statement_timeout") == "5s"


# Programs.


async def test_migrations_connect_to_primary_of_several_hosts(db_servers: Servers) -> None:
    url = db_servers.url(db_servers.hosts, "connect_timeout=5")
    result = await invoke_command("migrate", DATABASE_URL=url)
    assert result == (0, "The schema is at head.\n", "")


async def test_migration_on_standby_fails_with_reason(db_servers: Servers) -> None:
    url = db_servers.url(f"127.0.0.1:1,{db_servers.standby}")
    with pytest.raises(CommandError, match="leads to a server that accepts no writes"):
        await asyncio.to_thread(schema.upgrade, to_sqlalchemy_url(SecretStr(url)))


async def test_psql_connects_to_primary_of_several_hosts(db_servers: Servers) -> None:
    url = db_servers.url(db_servers.hosts, "target_session_attrs=read-write")
    variables = connection_variables(make_settings(url).sqlalchemy_url)
    psql = await asyncio.create_subprocess_exec(
        *(get_program_path("psql"), "-Atc", "SELECT pg_is_in_recovery()"),
        env={**CLEAN_ENVIRONMENT, **variables},
        stdout=subprocess.PIPE,
    )
    output, _ = await psql.communicate()
    assert output == b"f\n"
