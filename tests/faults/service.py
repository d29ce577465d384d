"""A real server to which faults are done, and what must be true of it after each of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.documents.sweeper import Sweeper
from tests.conftest import make_settings
from tests.support import database_activity
from tests.support.factories import make_author, make_document
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.rows import execute
from tests.support.stored_objects import list_object_states

POOL = 8  # connections
LOCK_TIMEOUT, STATEMENT_TIMEOUT, REQUEST_TIMEOUT = 0.5, 1.0, 2.0  # seconds
IMPATIENT = {
    "DB_POOL_SIZE": f"{POOL}",
    "DB_POOL_TIMEOUT": "0.5",
    "DB_STATEMENT_TIMEOUT": f"{STATEMENT_TIMEOUT}",
    "REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT}",
}
AT_ONCE = 2.0  # seconds that a busy machine may take beyond what it should
OTHER_POOLS = 1 + POOL // 4  # of readiness and of reports
_OURS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'bookshelf'
"""
_AGE = "UPDATE stored_objects SET touched_at = touched_at - interval '1 day'"
_ORPHANS = """
SELECT count(*) FROM stored_objects FULL JOIN documents ON file_id = stored_objects.id
WHERE (file_id IS NULL) <> (stored_objects.id IS NULL) AND (file_id IS NOT NULL OR state = 'ready')
"""


@dataclass
class Service:
    """The process; `url` is that of its database, without a wire before it."""

    client: AsyncClient
    origin: str
    url: str
    metrics: str
    prefix: str
    log: str = ""

    async def is_well(self) -> None:
        """No request is stuck, no connection leaks, a sweep leaves no orphan, and it goes on."""
        await self.comes_to_rest()
        other = await asyncpg.connect(self.url)
        try:
            await database_activity.wait_for_query_result(
                0, other, database_activity.COUNT_BUSY, AT_ONCE
            )
            assert await other.fetchval(_OURS) <= POOL + OTHER_POOLS
            await self.sweep()
            left = await self._stored(other)
            assert set(left) <= {"ready object"}, left
            assert await other.fetchval(_ORPHANS) == 0
        finally:
            await other.close()
        await self._goes_on()
        assert "Traceback" not in self.log, self.log

    async def comes_to_rest(self) -> None:
        """Whatever was given up is at its end, and holds no connection."""
        gauges = dict[str, float]()

        async def rests() -> bool:
            samples = await scrape_metrics(self.metrics)
            used = ("http_requests_in_flight", "db_pool_checked_out")
            gauges.update({name: value for name, value in samples.items() if name.startswith(used)})
            return not any(gauges.values())

        with suppress(TimeoutError):
            async with asyncio.timeout(REQUEST_TIMEOUT + AT_ONCE):
                await poll_until(rests)
        assert len(gauges) == 4
        assert not any(gauges.values()), gauges

    async def sweep(self, **changes: str) -> None:
        """Sweep as if a day had gone by; with another store where `changes` say so."""
        settings = make_settings(self.url, s3_prefix=self.prefix, **changes)
        database, storage = Database(settings), Storage(settings)
        try:
            await execute(database, _AGE)
            await Sweeper(database.writes, storage, settings).sweep()
        finally:
            storage.close()
            await database.close()

    async def _stored(self, other: asyncpg.Connection) -> list[str]:
        storage = Storage(make_settings(self.url))
        try:
            return await list_object_states(storage, self.prefix, other)
        finally:
            storage.close()

    async def _goes_on(self) -> None:
        # Reads first: they find the connections that are dead, of which a write would be told.
        for path in ("/readyz", *["/authors?size=1"] * POOL):
            await self._succeeds("GET", path)
        author = f"/authors/{(await make_author(self.client))['id']}"
        await self._succeeds("PATCH", author, json={"name": "x"}, headers={"If-Match": '"1"'})
        document = await make_document(self.client, content=b"as before")
        async with AsyncClient() as browser:
            assert (await browser.get(document["file_url"])).content == b"as before"
        for path in (author, f"/documents/{document['id']}"):
            await self._succeeds("DELETE", path)

    async def _succeeds(self, method: str, path: str, **request: Any) -> None:
        answer = await self.client.request(method, path, **request)
        assert answer.is_success, f"{method} {path}: {answer.text}"


@asynccontextmanager
async def served(
    url: str, *, direct: str = "", prefix: str, **environment: str
) -> AsyncIterator[Service]:
    """A server over a database, which `direct` leads to where `url` leads through a wire."""
    port = find_free_port()
    given = {**IMPATIENT, "METRICS_PORT": port, "S3_PREFIX": prefix, "LOG_LEVEL": "ERROR"}
    async with (
        running_server(DATABASE_URL=url, **given, **environment) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        service = Service(client, origin, direct or url, port, prefix)

        async def read() -> None:
            assert process.stdout
            async for line in process.stdout:
                service.log += line.decode()

        reading = asyncio.create_task(read())
        yield service
        reading.cancel()
        await asyncio.wait({reading})
