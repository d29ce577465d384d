"""Scheduled jobs, each of which runs once per tick, however many processes try to run it.

A job with an interval of 10 minutes has its ticks at 00:00, 00:10, 00:20 and so on, UTC. The table
`job_runs` has the last run of each job. A process runs a job only if it gets the job's lock and no
run for the latest tick is recorded:

    12:10:00  process A gets the lock and runs the job
    12:10:00  process B does not get the lock, and skips the tick
    12:10:01  process A records the run and releases the lock, in one COMMIT
    12:10:02  process C gets the lock, reads that the tick is done, and skips it
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app import NAME
from app.core.db import Base, Database, Rows, Session

# The first tick of every job.
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The settings and resources that jobs use.
Context = TypeVar("Context")


class JobRun(Base):
    """The last run of a job: its tick, the time when it ended, and a sentence about its result."""

    __tablename__ = "job_runs"

    name: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    tick: Mapped[datetime]
    finished_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(sa.Text)


@dataclass(frozen=True)
class Job(Generic[Context]):
    """A scheduled job.

    Args:
        name: The name of the job in logs, in commands and in the database.
        interval: The time between two ticks. The first tick is at the start of 1970, UTC.
        work: Does the work and returns its outcome, for example "3 tokens deleted".
    """

    name: str
    interval: timedelta
    work: Callable[[Context], Awaitable[str]]

    def latest_tick(self) -> datetime:
        """Return the latest time at which the job was due."""
        now = datetime.now(UTC)
        time_since_tick = (now - EPOCH) % self.interval
        return now - time_since_tick

    async def run(
        self, database: Database, context: Context, *, even_if_done: bool = False
    ) -> str | None:
        """Run the job for its latest tick and return its outcome.

        Returns None if another process is running the job, or has run it for this tick. With
        `even_if_done`, the latter does not matter. If the work raises an error, the failed run is
        recorded before the error is raised again. The job is then due at the next tick.
        """
        failure: Exception | None = None
        # The lock belongs to the transaction. If the process dies, both end without a record.
        async with database.transaction() as session:
            job_runs = JobRunRepository(session)
            tick = self.latest_tick()
            if not await job_runs.try_lock(self.name):
                return None
            last_tick = await job_runs.find_last_tick(self.name)
            is_done = last_tick is not None and last_tick >= tick
            if is_done and not even_if_done:
                return None
            try:
                outcome = await self.work(context)
            except Exception as error:  # noqa: BLE001 - raised after the run has been recorded
                failure = error
                outcome = f"failed: {type(error).__name__}"
            await job_runs.record(self.name, tick, outcome)
        if failure is not None:
            raise failure
        return outcome


class JobRunRepository:
    """Reads and writes the last runs of jobs, and locks jobs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def try_lock(self, job_name: str) -> bool:
        """Lock a job until the transaction ends. Return False if another process has locked it."""
        key = sa.func.hashtextextended(f"{NAME} job {job_name}", 0)
        statement = sa.select(sa.func.pg_try_advisory_xact_lock(key).label("is_locked"))
        [row] = await self._session.execute(statement)
        return bool(row["is_locked"])

    async def find_last_tick(self, job_name: str) -> datetime | None:
        """Return the tick of the job's last run, or None if it has never run."""
        statement = sa.select(JobRun.tick).where(JobRun.name == job_name)
        rows = await self._session.execute(statement)
        if not rows:
            return None
        tick: datetime = rows[0]["tick"]
        return tick

    async def record(self, job_name: str, tick: datetime, outcome: str) -> None:
        """Record a run that ends now, replacing the last run of the job."""
        columns = {"tick": tick, "finished_at": sa.func.clock_timestamp(), "outcome": outcome}
        statement = insert(JobRun).values(name=job_name, **columns)
        upsert = statement.on_conflict_do_update(index_elements=["name"], set_=columns)
        await self._session.execute(upsert.returning(JobRun.name))

    async def list_last_runs(self) -> Rows:
        """Return the last run of each job, sorted by the name of the job."""
        return await self._session.execute(sa.select(JobRun.__table__).order_by(JobRun.name))
