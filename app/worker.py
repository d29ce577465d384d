"""The list of scheduled jobs, and the worker process that runs them when they are due."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from app import __version__
from app.changes.service import ChangeSweeper
from app.core.db import Database, wait_for_schema
from app.core.errors import Unavailable
from app.core.idempotency import StoredResponseRepository
from app.core.jobs import EPOCH, Job, JobFailed, export_last_runs, is_being_cancelled
from app.core.observability import (
    CUT_SHORT,
    DONE,
    FAILED,
    UNKNOWN_OBJECTS,
    count_job_run,
    export_build_info,
    export_job,
)
from app.core.storage import Storage, StoreFailed
from app.documents.storage_audit import StorageAudit
from app.documents.sweeper import Sweeper
from app.documents.unknown_object_repository import UnknownObjectRepository
from app.reports.service import ReportService
from app.settings import Settings
from app.tables import REQUIRED_REVISIONS
from app.tokens.service import TokenRevoker

if TYPE_CHECKING:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

# The signals that stop a server or a worker. Ctrl-C sends SIGINT, a closed terminal SIGHUP.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# How often the metrics of jobs and of unknown objects are read from the database.
EXPORT_INTERVAL: Final = timedelta(minutes=1)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobContext:
    """The settings, the database and the object store that a job works with."""

    settings: Settings
    database: Database
    storage: Storage


async def _sweep_storage(context: JobContext) -> str:
    sweeper = Sweeper(context.database.writes, context.storage, context.settings)
    result = await sweeper.sweep()
    if result.failed_steps:
        raise JobFailed(str(result))
    return str(result)


async def _audit_storage(context: JobContext) -> str:
    audit = StorageAudit(context.database.writes, context.storage, context.settings)
    try:
        result = await audit.run()
    except StoreFailed as error:
        raise JobFailed(f"could not list the objects in the store: {error.reason}") from error
    return str(result)


async def _store_todays_user_count(context: JobContext) -> str:
    return await ReportService(context.database.writes).store_todays_user_count()


async def _sweep_stored_responses(context: JobContext) -> str:
    deleted = await StoredResponseRepository(context.database.writes).delete_expired_responses()
    return f"deleted {deleted} expired idempotency keys"


async def _sweep_changes(context: JobContext) -> str:
    return await ChangeSweeper(context.database.writes, context.settings).sweep()


async def _sweep_tokens(context: JobContext) -> str:
    return await TokenRevoker(context.database.writes).delete_expired()


JOBS: Final = (
    Job("sweep-storage", timedelta(minutes=10), _sweep_storage),
    # This job lists all objects, which takes long and costs money, so it runs once a day.
    Job("audit-storage", timedelta(days=1), _audit_storage),
    # The database stores the names of jobs, so this one keeps the former word for responses.
    Job("sweep-answers", timedelta(hours=1), _sweep_stored_responses),
    Job("sweep-changes", timedelta(minutes=10), _sweep_changes),
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
    # One more is for the metrics.
    required_connections = 2 * len(jobs) + 1
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
    export_build_info("worker", __version__, REQUIRED_REVISIONS[-1])
    for job in jobs:
        export_job(job.name, job.interval)
    async with open_job_context(settings, jobs) as context:
        scheduler = _create_scheduler(jobs, context)
        tasks_before_start = asyncio.all_tasks()
        try:
            with _catch_stop_signals() as stop_event:
                reads = context.database.reads
                # A worker may start before the migration of its release has ended.
                await wait_for_schema(reads, REQUIRED_REVISIONS, stop_event)
                scheduler.start()
                await stop_event.wait()
        finally:
            # The scheduler cancels running jobs, but it cannot wait until they have ended.
            if scheduler.running:
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
            _run_due_job,
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
    if context.settings.metrics_port > 0:
        scheduler.add_job(
            _export_table_metrics,
            IntervalTrigger(seconds=int(EXPORT_INTERVAL.total_seconds())),
            args=[jobs, context],
            # Start immediately, so that no metric is missing after a restart.
            next_run_time=datetime.now(UTC),
            misfire_grace_time=None,
            coalesce=True,
        )
    return scheduler


@contextmanager
def _catch_stop_signals() -> Iterator[asyncio.Event]:
    """Yield an event that is set when the process receives one of `STOP_SIGNALS`.

    If the signal handlers raised an exception instead, the event loop might swallow it.
    """
    stop_event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in STOP_SIGNALS:
        loop.add_signal_handler(signal_number, stop_event.set)
    try:
        yield stop_event
    finally:
        for signal_number in STOP_SIGNALS:
            loop.remove_signal_handler(signal_number)


async def _export_table_metrics(jobs: tuple[Job[JobContext], ...], context: JobContext) -> None:
    """Set the metrics of the last runs and of unknown objects to what the database contains.

    Each worker does so, because only one of them runs a job. All export the same values.
    """
    try:
        await export_last_runs(jobs, context.database.reads)
        unknown_objects = await UnknownObjectRepository(context.database.reads).count()
    except Exception as error:  # noqa: BLE001 - the next attempt is soon
        log.warning("metrics could not be read from the database: %s", error)
        return
    UNKNOWN_OBJECTS.labels(context.settings.s3_prefix).set(unknown_objects)


async def _run_due_job(job: Job[JobContext], context: JobContext) -> None:
    """Run a job that is due, and export its outcome in the metrics. Never raises an error."""
    await _run_and_log_job(job, context)
    if context.settings.metrics_port > 0 and not is_being_cancelled():
        await _export_table_metrics((job,), context)


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
        count_job_run(job.name, DONE)
    except asyncio.CancelledError:
        _record_cancelled_job(job)
    except (JobFailed, Unavailable) as error:
        # The cause of an `Unavailable` has been logged where it was raised.
        log.error("%s failed: %s", job.name, error)  # noqa: TRY400 - a known reason
        count_job_run(job.name, FAILED)
    except Exception:
        if is_being_cancelled():
            _record_cancelled_job(job)
            return
        log.exception("%s failed", job.name)
        count_job_run(job.name, FAILED)


def _record_cancelled_job(job: Job[JobContext]) -> None:
    """Log and count a job that was cancelled because the worker is being stopped."""
    log.warning("%s was cancelled because the worker was stopped", job.name)
    count_job_run(job.name, CUT_SHORT)
