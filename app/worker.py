"""Every scheduled job, in one list, and the process that runs them at their times."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from app.core.database import Database
from app.core.storage import Storage
from app.documents.jobs import Sweeper
from app.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What jobs work with."""

    settings: Settings
    database: Database
    storage: Storage


@dataclass(frozen=True)
class Job:
    """Work that any number of processes may do at the same time; it returns what it did."""

    name: str
    trigger: IntervalTrigger
    work: Callable[[Parts], Awaitable[str]]

    async def run(self, parts: Parts) -> None:
        """Do it now; what goes wrong is for the log, and for the next time."""
        try:
            log.info("%s: %s", self.name, await self.work(parts))
        except Exception:
            log.exception("%s failed", self.name)


async def _sweep_storage(parts: Parts) -> str:
    sweeper = Sweeper(parts.database.writes, parts.storage, parts.settings)
    return str(await sweeper.sweep())


JOBS: Final = (Job("sweep-storage", IntervalTrigger(minutes=10, timezone=UTC), _sweep_storage),)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Parts]:
    """What jobs work with, for as long as the block lasts."""
    parts = Parts(settings, Database(settings), Storage(settings))
    try:
        yield parts
    finally:
        parts.storage.close()
        await parts.database.close()


async def work(settings: Settings) -> None:
    """Run every job now and at its times, until the process is told to stop."""
    async with opened(settings) as parts:
        scheduler = AsyncIOScheduler(timezone=UTC)
        for job in JOBS:
            now = datetime.now(UTC)
            options = {"coalesce": True, "misfire_grace_time": None, "next_run_time": now}
            scheduler.add_job(job.run, job.trigger, [parts], name=job.name, **options)
        scheduler.start()
        await asyncio.Event().wait()
