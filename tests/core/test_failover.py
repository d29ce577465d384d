"""A server that has become read-only: writes fail, and its connections are replaced.

In most of these tests, the database gets `default_transaction_read_only`, which Postgres applies to
connections that are opened afterwards. So a connection to the former primary stays read-only when
new connections already lead to the new one. tests/core/test_database_servers.py has a real standby.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
import sqlalchemy as sa
from httpx import AsyncClient, Response
from sqlalchemy.engine import make_url

from app.authors.models import Author
from app.core.db import Database, mark_reusable
from app.core.db import _failover as failover
from app.core.errors import Unavailable
from app.core.storage import Storage
from app.worker import JOBS, _run_and_log_job
from tests.support.app_clients import client_with_settings
from tests.support.commands import invoke_command
from tests.support.databases import open_database
from tests.support.factories import Json, make_author, make_document, make_user
from tests.support.problems import check_problem
from tests.support.processes import poll_until
from tests.support.settings import make_settings

pytestmark = pytest.mark.private_database

SELECT_BACKEND_PID = mark_reusable(sa.select(sa.func.pg_backend_pid().label("pid")))
AUTHORS = cast("sa.Table", Author.__table__)
INSERT_AUTHOR = mark_reusable(
    sa.insert(AUTHORS)
    .values(id=sa.func.gen_random_uuid(), name=sa.bindparam("new_name"))
    .returning(AUTHORS.c.id)
)
LONG_INTERVAL = 3600.0  # seconds
INTERVALS = ("REPLACEMENT_INTERVAL_SECONDS", "READ_ONLY_REPLACEMENT_INTERVAL_SECONDS")


class Address:
    """The address of the database, which leads to a server that accepts writes or does not."""

    def __init__(self, connection: asyncpg.Connection, database_name: str) -> None:
        self._connection = connection
        self._database_name = database_name

    async def lead_to_read_only_server(self, *, disconnect_clients: bool = True) -> None:
        """Make the server read-only for new connections.

        A primary that becomes a standby disconnects its clients, which can then reconnect.
        """
        await self._set_read_only("on")
        if not disconnect_clients:
            return
        await self._connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def lead_to_new_primary(self) -> None:
        """Connections to the read-only server stay open."""
        await self._set_read_only("off")

    async def _set_read_only(self, value: str) -> None:
        await self._connection.execute(
            f'ALTER DATABASE "{self._database_name}" SET default_transaction_read_only = {value}'
        )


@pytest.fixture
def address(outside_connection: asyncpg.Connection, database_url: str) -> Address:
    return Address(outside_connection, make_url(database_url).database or "")


@pytest.fixture(params=[True, False], ids=["fast path", "SQLAlchemy"])
async def either_database(
    request: pytest.FixtureRequest, database_url: str
) -> AsyncIterator[Database]:
    """A database whose statements are executed in either way."""
    async with open_database(make_settings(database_url, db_fast_path=request.param)) as database:
        yield database


@pytest.fixture
async def either_client(
    either_database: Database, database_url: str, storage: Storage
) -> AsyncIterator[AsyncClient]:
    async with client_with_settings(database_url, either_database, storage) as client:
        yield client


async def backend_pid(database: Database) -> int:
    """Return the process id of the server's end of the connection that the pool checks out."""
    [row] = await database.reads.execute(SELECT_BACKEND_PID)
    pid: int = row["pid"]
    return pid


async def write(database: Database) -> None:
    await database.writes.execute(INSERT_AUTHOR, {"new_name": "Ursula"})


async def test_write_returns_503_and_next_write_reaches_new_primary(
    either_client: AsyncClient, address: Address
) -> None:
    await address.lead_to_read_only_server()
    response = await either_client.post("/authors", json={"name": "Ursula"})
    problem = check_problem(response, 503, "unavailable")
    assert problem["detail"] == "The database does not accept writes at the moment. Retry later."
    assert response.headers["retry-after"] == "1"
    await address.lead_to_new_primary()
    await make_author(either_client)


async def test_transaction_returns_503_and_next_one_reaches_new_primary(
    client: AsyncClient, address: Address
) -> None:
    author = await make_author(client)
    body = {"items": [{"title": "The Dispossessed", "author_id": author["id"]}]}
    await address.lead_to_read_only_server()
    response = await client.post("/books/batch", json=body)
    check_problem(response, 503, "unavailable")
    await address.lead_to_new_primary()
    assert (await client.post("/books/batch", json=body)).status_code == 201


async def test_idempotent_request_is_executed_when_retried_after_failover(
    client: AsyncClient, address: Address
) -> None:
    headers = {"Idempotency-Key": "one"}
    await address.lead_to_read_only_server()
    response = await client.post("/authors", json={"name": "Ursula"}, headers=headers)
    check_problem(response, 503, "unavailable")
    await address.lead_to_new_primary()
    response = await client.post("/authors", json={"name": "Ursula"}, headers=headers)
    assert response.status_code == 201


async def test_every_kind_of_write_returns_503_while_server_is_read_only(
    client: AsyncClient, address: Address
) -> None:
    author_path = f"/authors/{(await make_author(client))['id']}"
    document_path = f"/documents/{(await make_document(client, content=b'content'))['id']}"
    await make_user(client)
    login = {"grant_type": "password", "username": "ada@example.com", "password": "correct horse"}
    direct_upload = {"filename": "a.pdf", "content_type": "application/pdf", "size": 1}
    new_user = {"name": "Bob", "email": "bob@example.com", "password": "correct horse"}
    file = ("a.pdf", b"x", "application/pdf")
    upload: Json = {"data": {"name": "Thesis"}, "files": {"file": file}}
    writes: list[Callable[[], Awaitable[Response]]] = [
        lambda: client.patch(author_path, json={"name": "x"}),
        lambda: client.delete(author_path, headers={"If-Match": '"1"'}),
        lambda: client.post("/users", json=new_user),
        lambda: client.post("/tokens", data=login),
        lambda: client.post("/documents", **upload),
        lambda: client.patch(document_path, **upload),
        lambda: client.delete(document_path),
        lambda: client.post(f"{document_path}/uploads", json=direct_upload),
    ]
    await address.lead_to_read_only_server()
    for send_write in writes:
        response = await send_write()
        check_problem(response, 503, "unavailable")
        assert response.headers["retry-after"] == "1"


async def test_reads_succeed_while_server_is_read_only(
    client: AsyncClient, address: Address
) -> None:
    await make_user(client)
    login = {"grant_type": "password", "username": "ada@example.com", "password": "correct horse"}
    token = (await client.post("/tokens", data=login)).json()["access_token"]
    await address.lead_to_read_only_server()
    # The time at which this token is used for the first time cannot be recorded.
    for accept in ("application/json", "application/jsonl"):
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        assert (await client.get("/authors", headers=headers)).status_code == 200


async def test_all_older_connections_are_replaced_when_one_write_fails(
    either_database: Database, address: Address
) -> None:
    await address.lead_to_read_only_server()
    async with either_database.transaction() as first, either_database.transaction() as second:
        rows = [*await first.execute(SELECT_BACKEND_PID), *await second.execute(SELECT_BACKEND_PID)]
    older_pids = {row["pid"] for row in rows}
    with pytest.raises(Unavailable):
        await write(either_database)
    assert await backend_pid(either_database) not in older_pids
    assert await backend_pid(either_database) not in older_pids


async def test_reads_keep_their_connection_when_many_writes_fail(
    database: Database, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "READ_ONLY_REPLACEMENT_INTERVAL_SECONDS", LONG_INTERVAL)
    await address.lead_to_read_only_server()
    with pytest.raises(Unavailable):
        await write(database)
    pid = await backend_pid(database)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await write(database)
    assert await backend_pid(database) == pid


async def test_connection_is_replaced_after_interval_when_second_write_fails(
    database: Database, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in INTERVALS:
        monkeypatch.setattr(failover, name, 0.1)
    await address.lead_to_read_only_server()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await write(database)
    pid = await backend_pid(database)

    async def is_replaced() -> bool:
        return await backend_pid(database) != pid

    await poll_until(is_replaced)


async def test_older_connections_are_replaced_when_new_one_accepts_writes(
    database: Database, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover, "REPLACEMENT_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(failover, "READ_ONLY_REPLACEMENT_INTERVAL_SECONDS", LONG_INTERVAL)
    await address.lead_to_read_only_server()
    with pytest.raises(Unavailable):
        await write(database)
    # The connection of the failed write is replaced, and this one is kept.
    pid = await backend_pid(database)
    await address.lead_to_new_primary()
    async with database.transaction() as first, database.transaction() as second:
        await first.execute(SELECT_BACKEND_PID)
        await second.execute(SELECT_BACKEND_PID)

    async def is_replaced() -> bool:
        return await backend_pid(database) != pid

    await poll_until(is_replaced)


async def test_copy_fails_and_its_connection_is_replaced_when_server_is_read_only(
    database: Database, address: Address
) -> None:
    async def copy() -> None:
        async with database.transaction() as session:
            await session.copy_records(AUTHORS, [])

    await address.lead_to_read_only_server()
    with pytest.raises(Unavailable):
        await copy()
    await address.lead_to_new_primary()
    await copy()


async def test_readyz_is_503_while_server_is_read_only_and_then_no_write_fails(
    client: AsyncClient, address: Address
) -> None:
    await address.lead_to_read_only_server()
    assert (await client.get("/authors")).status_code == 200
    for _ in range(2):
        response = await client.get("/readyz")
        check_problem(response, 503, "unavailable")
        assert response.json()["detail"] == "database: is read-only"
    await address.lead_to_new_primary()
    assert (await client.get("/readyz")).status_code == 200
    # The check has replaced the connection of the GET request.
    await make_author(client)


async def test_readyz_is_503_after_failed_write_although_its_connection_accepts_writes(
    client: AsyncClient, address: Address
) -> None:
    """The check looks at the server to which new connections lead."""
    assert (await client.get("/readyz")).status_code == 200
    await address.lead_to_read_only_server(disconnect_clients=False)
    check_problem(await client.post("/authors", json={"name": "Ursula"}), 503, "unavailable")
    check_problem(await client.get("/readyz"), 503, "unavailable")


async def test_job_fails_without_traceback_and_succeeds_after_failover(
    database: Database, address: Address, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    [job] = [job for job in JOBS if job.name == "count-users"]
    context: Any = SimpleNamespace(database=database)
    await address.lead_to_read_only_server()
    await _run_and_log_job(job, context)
    [failure] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert failure.getMessage().startswith("count-users failed: The database does not accept")
    assert failure.exc_info is None
    await address.lead_to_new_primary()
    await _run_and_log_job(job, context)
    assert caplog.records[-1].levelname == "INFO"


async def test_command_fails_with_reason_while_server_is_read_only(
    database_url: str, address: Address
) -> None:
    await address.lead_to_read_only_server()
    command = ("users", "create-admin", "ada@example.com")
    result = await invoke_command(*command, input=b"correct horse\n", DATABASE_URL=database_url)
    assert result.exit_code == 1
    assert "The database does not accept writes at the moment" in result.stderr
    assert "Traceback" not in result.stderr
