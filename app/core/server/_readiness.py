"""Readiness, which `/readyz` reports: can this process serve requests now?"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from app.core.db import Database
from app.core.errors import ShuttingDown, Unavailable
from app.core.observability import record_backend
from app.core.server._shutdown import Shutdown
from app.core.storage import Storage, StoreFailed

PROBE_TIMEOUT_SECONDS: Final = 1.0
# Several times what importing boto3 takes on a busy machine with a slow disk.
STORAGE_OPEN_TIMEOUT_SECONDS: Final = 10.0

# A function that returns None if a backend service works, otherwise a description of the failure,
# for example "storage: the bucket does not exist".
Probe = Callable[[], Coroutine[None, None, str | None]]


class Readiness:
    """Checks whether this process can serve requests: do the database and the object store respond?

    Concurrent checks share one probe of each backend service, so that frequent readiness requests
    use at most one database connection and one thread. Both are reserved for probes.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        required_revisions: Sequence[str],
        shutdown: Shutdown,
    ) -> None:
        """Prepare the probes of the backend services, without running them.

        Args:
            database: The database to probe, on the connection that is reserved for this.
            storage: The object store to probe.
            required_revisions: The Alembic revisions of the database schema that this version of
                the service needs, in order, for example `("0001", "0002")`.
            shutdown: Tells whether the process has begun to shut down.
        """
        self._database = database
        self._storage = storage
        self._required_revisions = required_revisions
        self._shutdown = shutdown
        self._database_probe = _SharedProbe("database", self._probe_database)
        self._storage_probe = _SharedProbe("storage", self._probe_storage)

    async def check(self) -> None:
        """Raise an error within a second if the process is not ready to serve requests.

        The first check may take longer because it imports the client of the object store.

        Raises `ShuttingDown` if a shutdown has begun, and `Unavailable` with a description of all
        failures, for example "database: does not respond; storage: the bucket does not exist".
        """
        if self._shutdown.has_begun:
            raise ShuttingDown

        probe_results = await asyncio.gather(self._database_probe.run(), self._check_storage())
        for backend, failure in zip(("database", "storage"), probe_results, strict=True):
            record_backend(backend, is_ready=failure is None)
        # The shutdown may have begun during the probes.
        if self._shutdown.has_begun:
            raise ShuttingDown

        failures = [failure for failure in probe_results if failure is not None]
        if failures:
            raise Unavailable("; ".join(failures))

    async def _probe_database(self) -> str | None:
        """Return a description of what is wrong with the database, or None if it is usable."""
        return await self._database.find_problem(self._required_revisions)

    async def _check_storage(self) -> str | None:
        """Return a description of what is wrong with the object store, or None if it is usable.

        The first check imports boto3, which takes 0.2 seconds of CPU time and 25 MiB. This is not
        done at startup because many processes never use the object store. The import has a timeout
        of its own, because it may take longer than the second in which the store has to respond.
        """
        try:
            async with asyncio.timeout(STORAGE_OPEN_TIMEOUT_SECONDS):
                await self._storage.open()
        except StoreFailed as error:
            return f"storage: {error.reason}"
        except TimeoutError:
            return "storage: the client library is still being loaded"
        return await self._storage_probe.run()

    async def _probe_storage(self) -> str | None:
        """Return a description of what is wrong with the object store, or None if it is usable."""
        try:
            await self._storage.ping()
        except StoreFailed as error:
            return f"storage: {error.reason}"
        return None


class _SharedProbe:
    """Runs the probe of a backend service, and shares its result between concurrent callers."""

    def __init__(self, service_name: str, probe: Probe) -> None:
        self._service_name = service_name
        self._probe = probe
        self._task: asyncio.Task[str | None] | None = None

    async def run(self) -> str | None:
        """Run the probe, or wait for the one that is already running.

        Returns None if the backend service works, otherwise a description of the failure, for
        example "database: does not respond" after `PROBE_TIMEOUT_SECONDS`.

        A probe that exceeds this timeout continues to run, and later calls wait for it. It is not
        cancelled, because cancelling a query also takes long if the database does not respond.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._probe())
        task = self._task
        await asyncio.wait({task}, timeout=PROBE_TIMEOUT_SECONDS)
        if not task.done():
            return f"{self._service_name}: does not respond"
        return task.result()
