"""Every scheduled job, in one list, and the process that runs them at their times."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

from app.core.db import Database
from app.core.idempotency import StoredResponseRepository
from app.core.jobs import EPOCH, Job
from app.core.observability import JOB_RUNS
from app.core.storage import Storage
from app.documents.sweeper import Sweeper
from app.reports.service import ReportService
from app.settings import Settings
from app.tokens.service import Revocation

STOPS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What jobs work with."""

    settings: Settings
    database: Database
    storage: Storage


async def _sweep_storage(parts: Parts) -> str:
    sweeper = Sweeper(parts.database.writes, parts.storage, parts.settings)
    return str(await sweeper.sweep())


async def _count_users(parts: Parts) -> str:
    return await ReportService(parts.database.writes).count_users()


async def _sweep_answers(parts: Parts) -> str:
    deleted = await StoredResponseRepository(parts.database.writes).delete_expired()
    return f"{deleted} answers to keys forgotten"


async def _sweep_tokens(parts: Parts) -> str:
    return await Revocation(parts.database.writes).delete_expired()


JOBS: Final = (
    Job("sweep-storage", timedelta(minutes=10), _sweep_storage),
    Job("sweep-answers", timedelta(hours=1), _sweep_answers),
    Job("sweep-tokens", timedelta(hours=1), _sweep_tokens),
    # Once a day, at midnight; every hour, for a midnight at which that failed.
    Job("count-users", timedelta(hours=1), _count_users),
)


@asynccontextmanager
async def opened(settings: Settings, jobs: tuple[Job[Parts], ...] = JOBS) -> AsyncIterator[Parts]:
    """What jobs work with, for as long as the block lasts."""
    # All may be under way at once, each with a connection for its lock beside that of its work.
    size = max(settings.db_pool_size, 2 * len(jobs))
    database = Database(settings.model_copy(update={"db_pool_size": size}))
    parts = Parts(settings, database, Storage(settings))
    try:
        yield parts
    finally:
        # The database first, because its callbacks after a commit may use the storage.
        await parts.database.close()
        parts.storage.close()


async def work(settings: Settings, jobs: tuple[Job[Parts], ...] = JOBS) -> None:
    """Run every job that is due now, and all at their times, until the process is stopped."""
    # Here, for a server knows this module and never does it.
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: PLC0415
    from apscheduler.triggers.interval import IntervalTrigger  # noqa: PLC0415

    async with opened(settings, jobs) as parts:
        scheduler = AsyncIOScheduler(timezone=UTC)
        for job in jobs:
            trigger = IntervalTrigger(seconds=int(job.every.total_seconds()), start_date=EPOCH)
            # Each run is so long after the one before it: the first counts as the latest tick's.
            options = {"coalesce": True, "misfire_grace_time": None, "next_run_time": job.tick()}
            scheduler.add_job(_run, trigger, [job, parts], name=job.name, **options)
        others = asyncio.all_tasks()
        scheduler.start()
        try:
            await _told_to_stop()
        finally:
            scheduler.shutdown(wait=False)
            await asyncio.gather(*asyncio.all_tasks() - others, return_exceptions=True)


async def _told_to_stop() -> None:
    # By a flag: what a handler of Python's raises, the event loop may swallow.
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in STOPS:
            loop.remove_signal_handler(number)


async def _run(job: Job[Parts], parts: Parts) -> None:
    """What goes wrong with one job is for the log; the others do not hear of it."""
    try:
        if (said := await job.run(parts.database, parts)) is not None:
            log.info("%s: %s", job.name, said)
            JOB_RUNS.labels(job.name, "done").inc()
    except asyncio.CancelledError:  # the process was told to stop
        log.warning("%s was cut short", job.name)
        JOB_RUNS.labels(job.name, "cut short").inc()
    except Exception:
        log.exception("%s failed", job.name)
        JOB_RUNS.labels(job.name, "failed").inc()
