"""Scheduled jobs, each of which runs once per tick, however many processes try to run it.

A job with an interval of 10 minutes has its ticks at 00:00, 00:10, 00:20 and so on, UTC. The table
`job_runs` has the last run of each job. A process runs a job only if it gets the job's lock and no
run for the latest tick is recorded:

    12:10:00  process A gets the lock and runs the job
    12:10:00  process B does not get the lock, and skips the tick
    12:10:01  process A records the run and releases the lock, in one COMMIT
    12:10:02  process C gets the lock, reads that the tick is done, and skips it
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app import NAME
from app.core.db import Base, Database, Rows, Session
from app.core.observability import export_last_run

# The first tick of every job.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The outcome of a failed run begins with this.
_FAILURE_PREFIX: Final = "failed: "
# The type of the settings and resources that the jobs of a worker use.
JobContextT = TypeVar("JobContextT")


class JobFailed(Exception):
    """Raised by the work of a job that has failed for a known reason, so no traceback is needed.

    The message becomes a part of the outcome, for example "2 tokens deleted; could not delete all".
    It is logged, and must not contain secrets.
    """


class JobRun(Base):
    """The last run of a scheduled job. Its `tick` is the time at which the job was due."""

    __tablename__ = "job_runs"

    name: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    tick: Mapped[datetime]
    finished_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(sa.Text)


@dataclass(frozen=True)
class Job(Generic[JobContextT]):
    """A scheduled job. Any number of processes may try to run it, but only one of them does.

    Args:
        name: The name of the job in logs, in commands and in the database.
        interval: The time between two ticks, at which the job is due. The first tick of every job
            was 1970-01-01 00:00 UTC.
        work: Does the work and returns its outcome, for example "3 tokens deleted".
    """

    name: str
    interval: timedelta
    work: Callable[[JobContextT], Awaitable[str]]

    def latest_tick(self) -> datetime:
        """Return the time at which the job was due most recently.

        At 12:17, this is 12:10 for a job with an interval of ten minutes.
        """
        now = datetime.now(UTC)
        time_since_tick = (now - EPOCH) % self.interval
        return now - time_since_tick

    async def run(
        self, database: Database, context: JobContextT, *, even_if_done: bool = False
    ) -> str | None:
        """Run the job if it is due, record the run, and return the outcome of its work.

        Returns None if the job has already run for its latest tick, or if another process is
        running it now. Records a failed run as well, and then raises the error of the work. The job
        is not due again before the next tick.

        Args:
            database: The database in which the runs are recorded.
            context: The settings and resources that the work uses.
            even_if_done: Run the job even if it has already run for its latest tick.
        """
        tick = self.latest_tick()
        outcome: str | None = None
        failure: Exception | None = None

        async def run_if_due(session: Session) -> None:
            """Run the job, unless this is a second attempt to record its run."""
            nonlocal outcome, failure
            job_runs = JobRunRepository(session)
            if not await job_runs.try_lock_job(self.name):
                return
            if outcome is None:
                if not even_if_done and await self._is_done(job_runs, tick):
                    return
                try:
                    outcome = await self.work(context)
                except Exception as error:  # noqa: BLE001 - raised below
                    failure = error
                    outcome = _describe_failure(error)
            await job_runs.record_run(self.name, tick, outcome)

        # If the process dies, the transaction ends. Postgres then releases the lock.
        await database.writes.run_in_transaction(run_if_due)
        # Raised inside the transaction, the error would undo the record of the run.
        if failure is not None:
            raise failure
        return outcome

    async def _is_done(self, job_runs: "JobRunRepository", tick: datetime) -> bool:
        """Return whether the job has already run for a tick."""
        last_tick = await job_runs.find_last_tick(self.name)
        return last_tick is not None and last_tick >= tick


class JobRunRepository:
    """Repository of the last run of each job. It also locks jobs for the process that runs them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def try_lock_job(self, job_name: str) -> bool:
        """Lock a job until the transaction ends. Return False if another process has locked it.

            SELECT pg_try_advisory_xact_lock(hashtextextended(:lock_name, 0)) AS is_locked,
                set_config('idle_in_transaction_session_timeout', '0', true)

        The transaction is idle while the job runs, for an hour perhaps. If the database had a
        timeout for such transactions, it would release the lock.
        """
        # Postgres identifies an advisory lock by a 64-bit number, so hash a text.
        lock_key = sa.func.hashtextextended(_get_lock_name(job_name), 0)
        statement = sa.select(
            sa.func.pg_try_advisory_xact_lock(lock_key).label("is_locked"),
            sa.func.set_config("idle_in_transaction_session_timeout", "0", sa.true()),
        )
        [row] = await self._session.execute(statement)
        return bool(row["is_locked"])

    async def is_running(self, job_name: str) -> bool:
        """Return whether a process has locked a job, without trying to lock it.

        Postgres shows the two halves of the number that identifies an advisory lock.
        """
        statement = sa.text(
            """
            SELECT EXISTS (
                SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
                WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                    AND datname = current_database()
                    AND (classid::bigint << 32) | objid::bigint
                        = hashtextextended(:lock_name, 0)
            ) AS is_running
            """
        )
        [row] = await self._session.execute(statement, {"lock_name": _get_lock_name(job_name)})
        return bool(row["is_running"])

    async def find_last_tick(self, job_name: str) -> datetime | None:
        """Return the time at which a job was due when it last ran, or None if it has never run."""
        statement = sa.select(JobRun.tick).where(JobRun.name == job_name)
        rows = await self._session.execute(statement)
        if not rows:
            return None
        [row] = rows
        last_tick: datetime = row["tick"]
        return last_tick

    async def record_run(self, job_name: str, tick: datetime, outcome: str) -> None:
        """Record a run of a job that has ended now. It replaces the record of the run before."""
        run_columns = {"tick": tick, "finished_at": sa.func.clock_timestamp(), "outcome": outcome}
        new_record = insert(JobRun).values(name=job_name, **run_columns)
        upsert = new_record.on_conflict_do_update(index_elements=["name"], set_=run_columns)
        await self._session.execute(upsert.returning(JobRun.name))

    async def list_last_runs(self) -> Rows:
        """Return the last run of each job, sorted by the name of the job."""
        return await self._session.execute(sa.select(JobRun.__table__).order_by(JobRun.name))


async def export_last_runs(jobs: Iterable[Job[Any]], session: Session) -> None:
    """Set the metrics of the last runs of some jobs to what the database contains."""
    intervals = {job.name: job.interval for job in jobs}
    for last_run in await JobRunRepository(session).list_last_runs():
        job_name = last_run["name"]
        # The table may also contain jobs of other releases.
        if job_name in intervals:
            export_last_run(
                job_name,
                finished_at=last_run["finished_at"],
                next_due_at=last_run["tick"] + intervals[job_name],
                has_failed=last_run["outcome"].startswith(_FAILURE_PREFIX),
            )


def _get_lock_name(job_name: str) -> str:
    """Return the text whose hash identifies the lock of a job."""
    return f"{NAME} job {job_name}"


def _describe_failure(error: Exception) -> str:
    """Return the outcome of a job that has raised an error, for example "failed: Overloaded"."""
    if isinstance(error, JobFailed):
        return f"{_FAILURE_PREFIX}{error}"
    # The message of another error may be long, or contain values that are secret.
    return f"{_FAILURE_PREFIX}{type(error).__name__}"


def is_being_cancelled() -> bool:
    """Return whether the current task was asked to stop, for example because the worker stops.

    A database connection that was closed by the cancellation may raise another error than
    `CancelledError`. A job that continues after errors has to raise it if this is the case.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
