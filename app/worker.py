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
from app.tokens.service import TokenRevocation

# SIGHUP is sent when the terminal is closed, SIGINT on Ctrl-C.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobContext:
    """The settings and the resources that jobs use."""

    settings: Settings
    database: Database
    storage: Storage


async def _sweep_storage(context: JobContext) -> str:
    sweeper = Sweeper(context.database.writes, context.storage, context.settings)
    return str(await sweeper.sweep())


async def _count_users(context: JobContext) -> str:
    return await ReportService(context.database.writes).count_users()


async def _sweep_answers(context: JobContext) -> str:
    deleted = await StoredResponseRepository(context.database.writes).delete_expired()
    return f"{deleted} answers to keys forgotten"


async def _sweep_tokens(context: JobContext) -> str:
    return await TokenRevocation(context.database.writes).delete_expired()


JOBS: Final = (
    Job("sweep-storage", timedelta(minutes=10), _sweep_storage),
    Job("sweep-answers", timedelta(hours=1), _sweep_answers),
    Job("sweep-tokens", timedelta(hours=1), _sweep_tokens),
    # The count is taken once a day, at midnight. The job is due every hour so that a count that
    # failed at midnight is taken later.
    Job("count-users", timedelta(hours=1), _count_users),
)


@asynccontextmanager
async def open_job_context(
    settings: Settings, jobs: tuple[Job[JobContext], ...] = JOBS
) -> AsyncIterator[JobContext]:
    """Open what jobs work with, and close it when the block ends."""
    # All jobs may run at the same time. Each holds a connection for its lock and one for its work.
    pool_size = max(settings.db_pool_size, 2 * len(jobs))
    database = Database(settings.model_copy(update={"db_pool_size": pool_size}))
    storage = Storage(settings)
    try:
        yield JobContext(settings, database, storage)
    finally:
        # The database first, because its callbacks after a commit may use the storage.
        await database.close()
        storage.close()


async def run_worker(settings: Settings, jobs: tuple[Job[JobContext], ...] = JOBS) -> None:
    """Run every job that is due now, and all at their times, until the process is stopped."""
    # Imported lazily because a server imports this module and schedules nothing.
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: PLC0415
    from apscheduler.triggers.interval import IntervalTrigger  # noqa: PLC0415

    async with open_job_context(settings, jobs) as context:
        scheduler = AsyncIOScheduler(timezone=UTC)
        for job in jobs:
            scheduler.add_job(
                _run,
                IntervalTrigger(seconds=int(job.interval.total_seconds()), start_date=EPOCH),
                [job, context],
                name=job.name,
                # A worker that starts between two ticks makes up for the latest one, however late.
                next_run_time=job.latest_tick(),
                misfire_grace_time=None,
                coalesce=True,
            )
        other_tasks = asyncio.all_tasks()
        scheduler.start()
        try:
            await _wait_for_stop_signal()
        finally:
            scheduler.shutdown(wait=False)
            running_jobs = asyncio.all_tasks() - other_tasks
            await asyncio.gather(*running_jobs, return_exceptions=True)


async def _wait_for_stop_signal() -> None:
    # An event, because the event loop may swallow an exception that a signal handler raises.
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _run(job: Job[JobContext], context: JobContext) -> None:
    """Run a job if it is due. A failure is logged, and the other jobs go on."""
    try:
        outcome = await job.run(context.database, context)
        if outcome is None:
            return
        log.info("%s: %s", job.name, outcome)
        JOB_RUNS.labels(job.name, "done").inc()
    except asyncio.CancelledError:
        # The process has been told to stop.
        log.warning("%s was cut short", job.name)
        JOB_RUNS.labels(job.name, "cut short").inc()
    except Exception:
        log.exception("%s failed", job.name)
        JOB_RUNS.labels(job.name, "failed").inc()
