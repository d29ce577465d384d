"""Scheduled jobs: each runs once per tick, however many processes there are to run it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app import NAME
from app.core.db import Base, Database, Rows, Session

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the first tick of every job
Parts = TypeVar("Parts")


class JobRun(Base):
    """The last run of a job: the tick it was for, when it was done and what it said."""

    __tablename__ = "job_runs"

    name: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    tick: Mapped[datetime]
    finished_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(sa.Text)


@dataclass(frozen=True)
class Job(Generic[Parts]):
    """Work that is due `every` so often, counted from midnight UTC; it returns what it did."""

    name: str
    interval: timedelta
    work: Callable[[Parts], Awaitable[str]]

    def latest_tick(self) -> datetime:
        """The latest time at which it was due."""
        now = datetime.now(UTC)
        return now - (now - EPOCH) % self.interval

    async def run(
        self, database: Database, parts: Parts, *, even_if_done: bool = False
    ) -> str | None:
        """Do it, unless this tick's run is done or under way; what it said.

        `even_if_done` does it a second time in a tick. What goes wrong is raised when all is noted:
        the next time is the next tick.
        """
        failure: Exception | None = None
        # The transaction holds the lock: a process that dies lets it go, and has noted nothing.
        async with database.transaction() as session:
            runs, tick = JobRunRepository(session), self.latest_tick()
            if not await runs.try_lock(self.name):
                return None
            if not even_if_done and await runs.last_tick(self.name) >= tick:
                return None
            try:
                outcome = await self.work(parts)
            except Exception as error:  # noqa: BLE001 - raised below
                failure, outcome = error, f"failed: {type(error).__name__}"
            await runs.record(self.name, tick, outcome)
        if failure is not None:
            raise failure
        return outcome


class JobRunRepository:
    """The SQL of the jobs' runs."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def try_lock(self, name: str) -> bool:
        """Take the job until the transaction ends; false when another process has it."""
        key = sa.func.hashtextextended(f"{NAME} job {name}", 0)
        lock = sa.select(sa.func.pg_try_advisory_xact_lock(key).label("locked"))
        rows = await self.session.execute(lock)
        return bool(rows[0]["locked"])

    async def last_tick(self, name: str) -> datetime:
        """The last one that a run was for."""
        rows = await self.session.execute(sa.select(JobRun.tick).where(JobRun.name == name))
        return rows[0]["tick"] if rows else EPOCH

    async def record(self, name: str, tick: datetime, outcome: str) -> None:
        values = {"tick": tick, "finished_at": sa.func.clock_timestamp(), "outcome": outcome}
        statement = insert(JobRun).values(name=name, **values)
        replaced = statement.on_conflict_do_update(index_elements=["name"], set_=values)
        await self.session.execute(replaced.returning(JobRun.name))

    async def list_last_runs(self) -> Rows:
        """Every job's last run."""
        return await self.session.execute(sa.select(JobRun.__table__).order_by(JobRun.name))
