"""Commits that wait for a synchronous standby, while the server itself works."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from httpx import Response

from app import embedded
from app.embedded.postgresql import Postgres
from tests.support import database_activity, postgres_server
from tests.support.accounts import add_token, add_user, is_token_accepted
from tests.support.databases import open_database
from tests.support.direct_uploads import complete_upload, create_upload, send_parts
from tests.support.factories import make_document, make_user
from tests.support.problems import check_problem
from tests.support.running_service import POOL_SIZE, RunningService, running_service
from tests.support.settings import make_settings

pytestmark = pytest.mark.slow

# The share of the pool that writes may occupy.
WRITE_CONNECTIONS = POOL_SIZE // 2
COUNT_FILES_TO_DELETE = "SELECT count(*) FROM stored_objects WHERE state = 'deleting'"
TERMINATE_BLOCKED_COMMITS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    data_dir = postgres_server.create_migrated_data_dir(tmp_path_factory.mktemp("standby"))
    with embedded.run_postgres(data_dir) as server:
        yield server


@pytest.fixture(scope="module")
def database_url(postgres: Postgres) -> str:
    """The URL of the database on the server of these tests."""
    return postgres.url()


@pytest.fixture(scope="module")
async def service(database_url: str) -> AsyncIterator[RunningService]:
    async with running_service(database_url, prefix="faults/commits/") as service:
        # The first check of the readiness imports the client of the object store.
        await service.client.get("/readyz")
        yield service


@pytest.fixture
async def unused_token(database_url: str) -> str:
    """A token of a new user, whose first use has to be recorded."""
    async with open_database(make_settings(database_url)) as database:
        user_id = await add_user(database, f"{uuid4()}@example.com")
        return await add_token(database, user_id)


@pytest.fixture
async def missing_standby(
    outside_connection: asyncpg.Connection, unused_token: str
) -> AsyncIterator[None]:
    """Make every commit wait for a standby that does not exist, until the test ends.

    The token is created before, because its commit would wait too.
    """
    async with synchronous_standby_missing(outside_connection):
        yield


@asynccontextmanager
async def synchronous_standby_missing(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Make every commit wait for a standby that does not exist, until the block ends."""
    # An earlier test may have deleted documents, whose files are removed in the background.
    await database_activity.wait_for_query_result(0, connection, COUNT_FILES_TO_DELETE)
    await set_synchronous_standby(connection, "missing")
    try:
        yield
    finally:
        await set_synchronous_standby(connection, "")


async def set_synchronous_standby(connection: asyncpg.Connection, name: str) -> None:
    """Name the standby that has to confirm each commit, or none."""
    await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await connection.execute("SELECT pg_reload_conf()")
    await database_activity.wait_for_query_result(
        name, connection, "SHOW synchronous_standby_names"
    )


async def wait_for_blocked_commit(connection: asyncpg.Connection) -> None:
    """Wait until the COMMIT of one write waits for the standby."""
    await database_activity.wait_for_query_result(
        1, connection, database_activity.COUNT_WAITING_FOR_STANDBY
    )


async def start_blocked_writes(
    service: RunningService, outside_connection: asyncpg.Connection
) -> list[asyncio.Task[Response]]:
    """Send more writes than the pool has connections, and wait until they occupy their share."""
    writes = [
        asyncio.create_task(service.client.post("/authors", json={"name": f"blocked {number}"}))
        for number in range(3 * POOL_SIZE)
    ]
    await database_activity.wait_for_query_result(
        WRITE_CONNECTIONS, outside_connection, database_activity.COUNT_WAITING_FOR_STANDBY
    )
    return writes


@pytest.mark.usefixtures("missing_standby")
async def test_reads_succeed_while_commits_of_writes_are_blocked(
    service: RunningService, outside_connection: asyncpg.Connection
) -> None:
    writes = await start_blocked_writes(service, outside_connection)
    reads = [service.client.get(path) for path in ("/authors", "/books", "/users", "/readyz") * 2]
    stream = service.client.get("/books.csv")
    responses = await asyncio.gather(*reads, stream)
    assert {response.status_code for response in responses} == {200}
    for response in await asyncio.gather(*writes):
        assert response.status_code == 503


@pytest.mark.usefixtures("missing_standby")
async def test_read_with_unused_token_succeeds_while_writes_occupy_their_share(
    service: RunningService, outside_connection: asyncpg.Connection, unused_token: str
) -> None:
    writes = await start_blocked_writes(service, outside_connection)
    assert await is_token_accepted(service.client, unused_token)
    await asyncio.gather(*writes)


@pytest.mark.usefixtures("missing_standby")
async def test_read_with_unused_token_succeeds_while_its_own_commit_is_blocked(
    service: RunningService, unused_token: str
) -> None:
    assert await is_token_accepted(service.client, unused_token)


async def test_writes_succeed_as_soon_as_commits_are_confirmed_again(
    service: RunningService, outside_connection: asyncpg.Connection
) -> None:
    async with synchronous_standby_missing(outside_connection):
        writes = await start_blocked_writes(service, outside_connection)
    responses = await asyncio.gather(*writes)
    created_authors = [response.json() for response in responses if response.status_code == 201]
    assert len(created_authors) >= WRITE_CONNECTIONS
    for author in created_authors:
        response = await service.client.get(f"/authors/{author['id']}")
        assert response.json()["name"] == author["name"]
    await service.check_recovered()


async def test_replay_is_confirmed_only_after_the_standby_has_the_stored_response(
    service: RunningService, outside_connection: asyncpg.Connection
) -> None:
    async def send_write() -> Response:
        return await service.client.post(
            "/authors", json={"name": "once"}, headers={"Idempotency-Key": "interrupted"}
        )

    async with synchronous_standby_missing(outside_connection):
        first = asyncio.create_task(send_write())
        await wait_for_blocked_commit(outside_connection)
        # The commit is interrupted, as by the timeout of the request, and stays on this server.
        await outside_connection.execute(TERMINATE_BLOCKED_COMMITS)
        check_problem(await first, 503, "unavailable")
        retry = asyncio.create_task(send_write())
        await wait_for_blocked_commit(outside_connection)
    response = await retry
    assert response.status_code == 201, response.text
    assert response.headers["idempotency-replayed"] == "true"


async def test_repeated_change_of_email_is_confirmed_only_after_the_standby_has_it(
    service: RunningService, outside_connection: asyncpg.Connection
) -> None:
    user = await make_user(service.client)
    async with synchronous_standby_missing(outside_connection):
        # The user already has this email, perhaps because of a commit that was interrupted.
        change = service.client.patch(f"/users/{user['id']}", json={"email": user["email"]})
        repeat = asyncio.create_task(change)
        await wait_for_blocked_commit(outside_connection)
    response = await repeat
    assert (response.status_code, response.json()["version"]) == (200, user["version"])


async def test_repeated_completion_of_upload_is_confirmed_only_after_the_standby_has_it(
    service: RunningService, outside_connection: asyncpg.Connection
) -> None:
    document = await make_document(service.client)
    upload = (await create_upload(service.client, document, b"a file")).json()
    await send_parts(upload, b"a file")
    first = await complete_upload(service.client, document, upload)
    async with synchronous_standby_missing(outside_connection):
        repeat = asyncio.create_task(complete_upload(service.client, document, upload))
        await wait_for_blocked_commit(outside_connection)
    assert (await repeat).json()["version"] == first.json()["version"]


@pytest.mark.usefixtures("missing_standby")
async def test_writes_that_find_no_free_connection_get_503_in_time(
    service: RunningService, outside_connection: asyncpg.Connection
) -> None:
    writes = await start_blocked_writes(service, outside_connection)
    done, _ = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    check_problem(done.pop().result(), 503, "overloaded")
    waiting_writes = await outside_connection.fetchval(database_activity.COUNT_WAITING_FOR_STANDBY)
    assert waiting_writes <= WRITE_CONNECTIONS
    await asyncio.gather(*writes)
