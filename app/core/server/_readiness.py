"""Readiness: can this process serve requests now? The health endpoint `/readyz` reports it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from app.core.db import Database, find_database_problem
from app.core.errors import ServiceError, ShuttingDown, Unavailable
from app.core.server._shutdown import Shutdown
from app.core.storage import ObjectNotFound, Storage

PROBE_TIMEOUT_SECONDS: Final = 1.0
# Several times what loading takes on a busy machine with a slow disk.
STORAGE_LOAD_TIMEOUT_SECONDS: Final = 10.0

Probe = Callable[[], Coroutine[None, None, str | None]]


class Readiness:
    """Finds out whether the database and the store respond, and whether the process shuts down.

    Concurrent readiness requests share one probe of each: probes use a connection and a thread of
    their own, and never more.
    """

    def __init__(
        self, database: Database, storage: Storage, revision: str, shutdown: Shutdown
    ) -> None:
        self._database = database
        self._storage = storage
        self._revision = revision
        self._shutdown = shutdown
        self._database_probe = _SharedProbe("database", self._probe_database)
        self._storage_probe = _SharedProbe("storage", self._probe_storage)

    async def check(self) -> None:
        """Return if the process is ready, within `PROBE_TIMEOUT_SECONDS`.

        Raises `Unavailable` with everything that is wrong, for example "database: does not answer;
        storage: has no such bucket". The first check of a process may take longer: it loads the
        store's client.
        """
        faults: Sequence[str | None] = ()
        if not self._shutdown.has_begun:
            faults = await asyncio.gather(self._database_probe.run(), self._check_storage())
        # A shutdown may have begun during the probes.
        if self._shutdown.has_begun:
            raise ShuttingDown
        messages = [fault for fault in faults if fault is not None]
        if messages:
            raise Unavailable("; ".join(messages))

    async def _probe_database(self) -> str | None:
        session = self._database.named_databases["readiness"].reads
        return await find_database_problem(session, self._revision)

    async def _check_storage(self) -> str | None:
        """Load the store's client if this is the first check, and then probe the store.

        Importing boto3 and creating its clients takes 0.2 seconds of CPU time and 25 MiB. Done at
        startup, even a process that serves no files and that nobody probes would pay for it. Done
        as a part of the probe, it can use up the second that the store has to respond.
        """
        try:
            async with asyncio.timeout(STORAGE_LOAD_TIMEOUT_SECONDS):
                await self._storage.open()
        except ServiceError:
            return "storage: does not answer"
        except TimeoutError:
            return "storage: its client is still being loaded"
        return await self._storage_probe.run()

    async def _probe_storage(self) -> str | None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._storage.ping()
        except (ServiceError, TimeoutError):
            return "storage: does not answer"
        except ObjectNotFound:
            return "storage: has no such bucket"
        return None


class _SharedProbe:
    """A probe of one backend service that runs at most once at a time."""

    def __init__(self, name: str, probe: Probe) -> None:
        self._name = name
        self._probe = probe
        self._task: asyncio.Task[str | None] | None = None

    async def run(self) -> str | None:
        """Return what is wrong, or None; join the probe that is already running, if there is one.

        A probe that takes too long is not cancelled but left to the next request: cancelling
        a query at a database that does not respond takes time as well.
        """
        task = self._task
        if task is None or task.done():
            task = asyncio.create_task(self._probe())
            self._task = task
        await asyncio.wait({task}, timeout=PROBE_TIMEOUT_SECONDS)
        return task.result() if task.done() else f"{self._name}: does not answer"
