"""A server process that is exposed to faults, and the checks of its state after a fault."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from httpx import AsyncClient, Limits

from app.core.db import Database
from app.core.storage import Storage
from app.documents.sweeper import Sweeper, SweepResult
from tests.support import database_activity
from tests.support.factories import make_author, make_document
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.rows import execute
from tests.support.settings import make_settings
from tests.support.stored_objects import list_object_states

POOL_SIZE = 8
# One connection for readiness probes, and a quarter of the pool for reports.
OTHER_POOLS_SIZE = 1 + POOL_SIZE // 4
# The gauges of requests in progress and of connections in use, of which there is one per pool.
GAUGE_COUNT = 4
# Seconds. The lock timeout is half of the statement timeout.
LOCK_TIMEOUT = 0.5
STATEMENT_TIMEOUT = 1.0
REQUEST_TIMEOUT = 2.0
# A busy machine may take this much longer than a timeout.
TOLERANCE_SECONDS = 2.0
SHORT_TIMEOUTS = {
    "DB_POOL_SIZE": f"{POOL_SIZE}",
    # Together, this and the statement timeout have to be shorter than the request timeout.
    "DB_POOL_TIMEOUT": "0.9",
    "DB_STATEMENT_TIMEOUT": f"{STATEMENT_TIMEOUT}",
    "REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT}",
}
# The server closes idle connections after 5 seconds. That is also the default of the client, whose
# request could then meet a connection that is just being closed.
CLIENT_LIMITS = Limits(keepalive_expiry=2)
_COUNT_CONNECTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf'
"""
_AGE_STORED_OBJECTS = "UPDATE stored_objects SET touched_at = touched_at - interval '1 day'"
# Documents whose file has no row, and files that are ready but belong to no document.
_COUNT_ORPHANS = """
SELECT count(*) FROM stored_objects FULL JOIN documents ON file_id = stored_objects.id
WHERE (file_id IS NULL) <> (stored_objects.id IS NULL) AND (file_id IS NOT NULL OR state = 'ready')
"""


@dataclass
class RunningService:
    """A server process, its client, and what is needed to look at it from outside."""

    client: AsyncClient
    origin: str
    # The URL of the database without a proxy.
    database_url: str
    metrics_port: str
    # All keys in the object store start with this prefix.
    prefix: str
    # Everything that the process has logged so far.
    log: str = ""

    async def check_recovered(self) -> None:
        """Check that faults have left no damage.

        No request is stuck, no connection has leaked, the sweeper leaves no orphaned files, every
        kind of request succeeds, and the log has no traceback.
        """
        await self.check_idle()
        connection = await asyncpg.connect(self.database_url)
        try:
            await database_activity.wait_for_query_result(
                0, connection, database_activity.COUNT_BUSY, TOLERANCE_SECONDS
            )
            connection_count = await connection.fetchval(_COUNT_CONNECTIONS)
            assert connection_count <= POOL_SIZE + OTHER_POOLS_SIZE
            await self.sweep()
            object_states = await self._list_object_states(connection)
            assert set(object_states) <= {"ready object"}, object_states
            assert await connection.fetchval(_COUNT_ORPHANS) == 0
        finally:
            await connection.close()
        await self._check_requests_succeed()
        assert "Traceback" not in self.log, self.log

    async def check_idle(self) -> None:
        """Wait until no request is in progress and no connection is checked out.

        Fails if that takes longer than the request timeout.
        """
        gauges = dict[str, float]()

        async def is_idle() -> bool:
            samples = await scrape_metrics(self.metrics_port)
            for name, value in samples.items():
                if name.startswith(("http_requests_in_flight", "db_pool_checked_out")):
                    gauges[name] = value
            return not any(gauges.values())

        with suppress(TimeoutError):
            async with asyncio.timeout(REQUEST_TIMEOUT + TOLERANCE_SECONDS):
                await poll_until(is_idle)
        assert len(gauges) == GAUGE_COUNT
        assert not any(gauges.values()), gauges

    async def sweep(self, **settings: str) -> SweepResult:
        """Run the sweeper as if a day had passed. `settings` can name another object store."""
        sweeper_settings = make_settings(self.database_url, s3_prefix=self.prefix, **settings)
        database = Database(sweeper_settings)
        storage = Storage(sweeper_settings)
        try:
            await execute(database, _AGE_STORED_OBJECTS)
            return await Sweeper(database.writes, storage, sweeper_settings).sweep()
        finally:
            storage.close()
            await database.close()

    async def _list_object_states(self, connection: asyncpg.Connection) -> list[str]:
        storage = Storage(make_settings(self.database_url))
        try:
            return await list_object_states(storage, self.prefix, connection)
        finally:
            storage.close()

    async def _check_requests_succeed(self) -> None:
        # Reads come first because they may be retried. They replace the dead connections of the
        # pool, on which a write would fail.
        await self._request("GET", "/readyz")
        for _ in range(POOL_SIZE):
            await self._request("GET", "/authors?size=1")
        author = await make_author(self.client)
        author_path = f"/authors/{author['id']}"
        await self._request("PATCH", author_path, json={"name": "x"}, headers={"If-Match": '"1"'})
        document = await make_document(self.client, content=b"content")
        async with AsyncClient() as store_client:
            file_response = await store_client.get(document["file_url"])
        assert file_response.content == b"content"
        await self._request("DELETE", author_path)
        await self._request("DELETE", f"/documents/{document['id']}")

    async def _request(self, method: str, path: str, **options: Any) -> None:
        """Send a request, and check that it succeeds."""
        response = await self.client.request(method, path, **options)
        assert response.is_success, f"{method} {path}: {response.text}"


@asynccontextmanager
async def running_service(
    database_url: str, *, direct_url: str | None = None, prefix: str, **environment: str
) -> AsyncIterator[RunningService]:
    """Start a server process with short timeouts, and stop it when the block ends.

    Args:
        database_url: The URL that the server uses for its database. It may be that of a proxy.
        direct_url: The URL of the same database without the proxy, if there is one.
        prefix: The prefix of the keys in the object store.
        environment: Further environment variables of the process. They override the defaults.
    """
    metrics_port = find_free_port()
    settings = {
        **SHORT_TIMEOUTS,
        "METRICS_PORT": metrics_port,
        "S3_PREFIX": prefix,
        "LOG_LEVEL": "ERROR",
        **environment,
    }
    async with (
        running_server(DATABASE_URL=database_url, **settings) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS, limits=CLIENT_LIMITS) as client,
    ):
        service = RunningService(client, origin, direct_url or database_url, metrics_port, prefix)

        async def read_log() -> None:
            assert process.stdout
            async for line in process.stdout:
                service.log += line.decode()

        reader = asyncio.create_task(read_log())
        yield service
        reader.cancel()
        await asyncio.wait({reader})
