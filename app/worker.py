"""The list of scheduled jobs, and the worker process that runs them when they are due."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from app.core.db import Database
from app.core.idempotency import StoredResponseRepository
from app.core.jobs import EPOCH, Job
from app.core.observability import JOB_RUNS
from app.core.storage import Storage
from app.documents.sweeper import Sweeper
from app.reports.service import ReportService
from app.settings import Settings
from app.tokens.service import TokenRevoker

if TYPE_CHECKING:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

# The signals that stop a server or a worker. Ctrl-C sends SIGINT, a closed terminal SIGHUP.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobContext:
    """The settings, the database and the object store that a job works with."""

    settings: Settings
    database: Database
    storage: Storage


async def _sweep_storage(context: JobContext) -> str:
    sweeper = Sweeper(context.database.writes, context.storage, context.settings)
    outcome = await sweeper.sweep()
    return str(outcome)


async def _store_todays_user_count(context: JobContext) -> str:
    return await ReportService(context.database.writes).store_todays_user_count()


async def _sweep_stored_responses(context: JobContext) -> str:
    deleted = await StoredResponseRepository(context.database.writes).delete_expired_responses()
    return f"deleted {deleted} expired idempotency keys"


async def _sweep_tokens(context: JobContext) -> str:
    return await TokenRevoker(context.database.writes).delete_expired()


JOBS: Final = (
    Job("sweep-storage", timedelta(minutes=10), _sweep_storage),
    # The database stores the names of jobs, so this one keeps the former word for responses.
    Job("sweep-answers", timedelta(hours=1), _sweep_stored_responses),
    Job("sweep-tokens", timedelta(hours=1), _sweep_tokens),
    # Users are counted once a day, at midnight. The job is due every hour, so that a count that
    # failed is repeated.
    Job("count-users", timedelta(hours=1), _store_todays_user_count),
)


@asynccontextmanager
async def open_job_context(
    settings: Settings, jobs: tuple[Job[JobContext], ...] = JOBS
) -> AsyncIterator[JobContext]:
    """Open the database and the object store that jobs use. Close them when the block ends."""
    # All jobs may run at the same time. Each uses one connection for its lock and one for its work.
    required_connections = 2 * len(jobs)
    pool_size = max(settings.db_pool_size, required_connections)
    worker_settings = settings.model_copy(update={"db_pool_size": pool_size})
    database = Database(worker_settings, reserve_reads=False)
    storage = Storage(settings)
    try:
        yield JobContext(settings, database, storage)
    finally:
        # Close the database first, because its callbacks after a commit may use the storage.
        await database.close()
        storage.close()


async def run_worker(settings: Settings, jobs: tuple[Job[JobContext], ...] = JOBS) -> None:
    """Run each job whenever it is due, until the process receives a stop signal.

    A job also runs immediately at startup if no worker has run it at its latest due time. When the
    signal arrives, running jobs are cancelled, and the function waits until they have ended.
    """
    async with open_job_context(settings, jobs) as context:
        scheduler = _create_scheduler(jobs, context)
        tasks_before_start = asyncio.all_tasks()
        scheduler.start()
        try:
            await _wait_for_stop_signal()
        finally:
            # The scheduler cancels running jobs, but it cannot wait until they have ended.
            scheduler.shutdown(wait=False)
            running_jobs = asyncio.all_tasks() - tasks_before_start
            await asyncio.gather(*running_jobs, return_exceptions=True)


def _create_scheduler(jobs: tuple[Job[JobContext], ...], context: JobContext) -> "AsyncIOScheduler":
    """Return a scheduler that, once it is started, runs each job whenever it is due."""
    # Imported lazily because a server imports this module, but does not schedule jobs.
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: PLC0415
    from apscheduler.triggers.interval import IntervalTrigger  # noqa: PLC0415

    scheduler = AsyncIOScheduler(timezone=UTC)
    for job in jobs:
        scheduler.add_job(
            _run_and_log_job,
            IntervalTrigger(seconds=int(job.interval.total_seconds()), start_date=EPOCH),
            args=[job, context],
            name=job.name,
            # The first run was due in the past. It starts immediately, however late it is, to make
            # up for a run that was missed while no worker was running.
            next_run_time=job.latest_tick(),
            misfire_grace_time=None,
            # If several runs were missed, make up for only one of them.
            coalesce=True,
        )
    return scheduler


async def _wait_for_stop_signal() -> None:
    """Wait until the process receives one of `STOP_SIGNALS`.

    The signal handlers set an event. If they raised an exception instead, the event loop might
    swallow it.
    """
    stop_event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in STOP_SIGNALS:
        loop.add_signal_handler(signal_number, stop_event.set)
    try:
        await stop_event.wait()
    finally:
        for signal_number in STOP_SIGNALS:
            loop.remove_signal_handler(signal_number)


async def _run_and_log_job(job: Job[JobContext], context: JobContext) -> None:
    """Run a job that is due. Log its outcome, and count it in the metrics.

    An error of the job is logged and not raised, so that the worker continues with other jobs.
    """
    try:
        outcome = await job.run(context.database, context)
        if outcome is None:
            # Another worker has run the job, or is running it now.
            return
        log.info("%s: %s", job.name, outcome)
        JOB_RUNS.labels(job.name, "done").inc()
    except asyncio.CancelledError:
        _record_cancelled_job(job)
    except Exception:
        task = asyncio.current_task()
        if task is not None and task.cancelling() > 0:
            # A database connection that was closed by the cancellation may raise another error.
            _record_cancelled_job(job)
            return
        log.exception("%s failed", job.name)
        JOB_RUNS.labels(job.name, "failed").inc()


def _record_cancelled_job(job: Job[JobContext]) -> None:
    """Log and count a job that was cancelled because the worker is being stopped."""
    log.warning("%s was cancelled because the worker was stopped", job.name)
    JOB_RUNS.labels(job.name, "cut short").inc()
