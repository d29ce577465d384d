"""Scheduled jobs: each runs once per tick, and no job blocks another.

A tick is the start of an interval of the job, for example each full hour for an hourly job.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import psutil
import pytest
from sqlalchemy.exc import ResourceClosedError

from app.core.db import Database
from app.core.jobs import Job
from app.documents.sweeper import SweepResult
from app.settings import Settings
from app.worker import JOBS, JobContext, _run_and_log_job, run_worker
from tests.support.factories import Json
from tests.support.processes import Worker, poll_until, running_workers
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings
from tests.support.ticking_worker import JOB_INTERVAL, JOB_LOCK_KEY

pytestmark = pytest.mark.private_database

# The interval of jobs whose next tick must not begin while a test runs.
YEAR = timedelta(days=365)
# Takes the advisory lock of the job with a name, as a worker does before it runs the job.
LOCK_JOB = "SELECT pg_advisory_lock(hashtextextended('bookshelf job ' || $1, 0))"
COUNT_ADVISORY_LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid
WHERE locktype = 'advisory' AND datname = current_database()
"""
SELECT_TODAY = "SELECT timezone('UTC', now())::date"
# `job_runs` has only the last run of each job, so a trigger copies every run to `all_job_runs`. The
# jobs of the ticking worker insert into `work`.
CREATE_TABLES = """
CREATE TABLE work (process int NOT NULL);
CREATE TABLE all_job_runs (name text NOT NULL, tick timestamptz NOT NULL, outcome text NOT NULL);
CREATE FUNCTION copy_job_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO all_job_runs VALUES (NEW.name, NEW.tick, NEW.outcome);
    RETURN NULL;
END $$;
CREATE TRIGGER copy_job_run AFTER INSERT OR UPDATE ON job_runs FOR EACH ROW
    EXECUTE FUNCTION copy_job_run();
"""


@pytest.fixture
async def recording_tables(outside_connection: asyncpg.Connection) -> None:
    """Create the tables that record every run of a job and every row of the ticking worker."""
    await outside_connection.execute(CREATE_TABLES)


@pytest.fixture
async def second_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another connection that does not belong to the service."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def environment(database_url: str, settings: Settings) -> dict[str, str]:
    """Environment variables of a worker that uses the database and the S3 prefix of the test."""
    return {
        "DATABASE_URL": database_url,
        "S3_PREFIX": settings.s3_prefix,
        "DB_STATEMENT_TIMEOUT": "60",
        "REQUEST_TIMEOUT": "90",
    }


class CountingWork:
    """The function of a job. It counts its runs, and fails while `error_message` is not empty."""

    def __init__(self) -> None:
        self.run_count = 0
        self.error_message = ""

    async def __call__(self, _context: object) -> str:
        self.run_count += 1
        if self.error_message:
            raise RuntimeError(self.error_message)
        return f"done {self.run_count}"


@asynccontextmanager
async def running_worker_in_this_process(
    environment: dict[str, str], *jobs: Job[JobContext], pool_size: int = 2
) -> AsyncIterator[None]:
    """Run a worker until the block ends. `caplog` has its log, unlike that of a worker process.

    Without `jobs` the worker runs the jobs of the service.
    """
    settings = make_settings(
        environment["DATABASE_URL"], s3_prefix=environment["S3_PREFIX"], db_pool_size=pool_size
    )
    worker_task = asyncio.create_task(run_worker(settings, jobs or JOBS))
    try:
        yield
    finally:
        worker_task.cancel()
        await asyncio.wait([worker_task])
        assert worker_task.cancelled()


async def fetch_job_runs(outside_connection: asyncpg.Connection) -> list[Json]:
    rows = await outside_connection.fetch("SELECT name, tick, outcome FROM job_runs ORDER BY name")
    return [dict(row) for row in rows]


async def fetch_recorded_ticks(outside_connection: asyncpg.Connection, name: str) -> list[datetime]:
    """Return the tick of every run of the job with this name."""
    rows = await outside_connection.fetch(
        "SELECT tick FROM all_job_runs WHERE name = $1 ORDER BY tick", name
    )
    return [row["tick"] for row in rows]


async def fetch_user_counts(outside_connection: asyncpg.Connection) -> list[tuple[date, int]]:
    rows = await outside_connection.fetch("SELECT day, count FROM user_counts ORDER BY day")
    return [(row["day"], row["count"]) for row in rows]


async def all_jobs_have_run(outside_connection: asyncpg.Connection) -> bool:
    """Return whether `job_runs` has a run of every job of the service."""
    return len(await fetch_job_runs(outside_connection)) == len(JOBS)


def all_jobs_printed(*workers: Worker) -> Callable[[], Awaitable[bool]]:
    """Return a condition that is true once the workers have printed an outcome of every job."""

    async def have_printed_all_jobs() -> bool:
        output = "".join(worker.output for worker in workers)
        return all(f" [-] {job.name}" in output for job in JOBS)

    return have_printed_all_jobs


def all_workers_connected(workers: list[Worker]) -> Callable[[], Awaitable[bool]]:
    """Return a condition that is true while each worker has a connection to a server.

    A worker without a connection has only the two sockets of its event loop.
    """

    async def are_connected() -> bool:
        processes = [psutil.Process(worker.process.pid) for worker in workers]
        return all(len(process.net_connections("all")) > 2 for process in processes)

    return are_connected


def jobs_logged(caplog: pytest.LogCaptureFixture, *names: str) -> Callable[[], Awaitable[bool]]:
    """Return a condition that is true once this process has logged an outcome of each job."""
    caplog.set_level("INFO", "app.worker")

    async def are_logged() -> bool:
        messages = [record.getMessage() for record in caplog.records]
        return all(any(message.startswith(name) for message in messages) for name in names)

    return are_logged


def has_recorded_ticks(
    outside_connection: asyncpg.Connection, name: str, count: int
) -> Callable[[], Awaitable[bool]]:
    """Return a condition that is true once `count` runs of the job with this name are recorded."""

    async def are_recorded() -> bool:
        return len(await fetch_recorded_ticks(outside_connection, name)) >= count

    return are_recorded


# A single job without a worker


def test_ticks_start_at_midnight_utc() -> None:
    now = datetime.now(UTC)
    for interval in (timedelta(hours=1), timedelta(minutes=10), timedelta(days=1)):
        tick = Job("job", interval, CountingWork()).latest_tick()
        midnight = tick.replace(hour=0, minute=0, second=0, microsecond=0)
        assert (tick - midnight) % interval == timedelta()
        assert now - interval < tick <= datetime.now(UTC)


async def test_job_runs_once_per_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    assert [await job.run(database, None) for _ in range(3)] == ["done 1", None, None]
    assert work.run_count == 1
    assert await fetch_job_runs(outside_connection) == [
        {"name": "job", "tick": job.latest_tick(), "outcome": "done 1"}
    ]


async def test_job_runs_once_when_started_many_times_concurrently(database: Database) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    outcomes = await asyncio.gather(*(job.run(database, None) for _ in range(20)))
    assert (work.run_count, [outcome for outcome in outcomes if outcome]) == (1, ["done 1"])


async def test_job_that_runs_longer_than_transactions_may_be_idle_is_recorded(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    # The database ends the connection of a transaction that is idle for as long as the work takes.
    await outside_connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout"
        " = 100', current_database()); END $$"
    )

    async def work(_context: None) -> str:
        await outside_connection.execute("SELECT pg_sleep(0.3)")
        return "done"

    assert await Job("job", YEAR, work).run(database, None) == "done"
    [job_run] = await fetch_job_runs(outside_connection)
    assert job_run["outcome"] == "done"


async def test_job_runs_again_in_same_tick_with_even_if_done(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, CountingWork())
    for outcome in ("done 1", "done 2"):
        assert await job.run(database, None, even_if_done=True) == outcome
        assert await fetch_job_runs(outside_connection) == [
            {"name": "job", "tick": job.latest_tick(), "outcome": outcome}
        ]
    assert await job.run(database, None) is None


async def test_job_runs_again_in_next_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, CountingWork())
    await job.run(database, None)
    await outside_connection.execute("UPDATE job_runs SET tick = tick - $1::interval", YEAR)
    assert await job.run(database, None) == "done 2"
    assert [run["tick"] for run in await fetch_job_runs(outside_connection)] == [job.latest_tick()]


async def test_finished_at_is_later_than_end_of_work(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    end_of_work: list[datetime] = []

    async def record_time(_context: None) -> str:
        end_of_work.append(await outside_connection.fetchval("SELECT clock_timestamp()"))
        return ""

    await Job("job", YEAR, record_time).run(database, None)
    assert await outside_connection.fetchval("SELECT finished_at FROM job_runs") > end_of_work[0]


@pytest.mark.parametrize("even_if_done", [False, True])
async def test_job_does_not_run_while_another_process_has_its_lock(
    database: Database, outside_connection: asyncpg.Connection, even_if_done: bool
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    await outside_connection.execute(LOCK_JOB.replace("$1", "'job'"))
    assert await job.run(database, None, even_if_done=even_if_done) is None
    assert (work.run_count, await fetch_job_runs(outside_connection)) == (0, [])
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")
    assert await job.run(database, None, even_if_done=even_if_done) == "done 1"


async def test_failed_run_is_recorded_and_raises_its_error(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    work.error_message = "no"
    with pytest.raises(RuntimeError, match="no"):
        await job.run(database, None)
    expected = {"name": "job", "tick": job.latest_tick(), "outcome": "failed: RuntimeError"}
    assert await fetch_job_runs(outside_connection) == [expected]


async def test_failed_job_does_not_run_again_in_same_tick(database: Database) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    work.error_message = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None)
    assert await job.run(database, None) is None
    assert work.run_count == 1


async def test_failed_job_runs_again_in_next_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    work.error_message = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None)
    await outside_connection.execute("UPDATE job_runs SET tick = tick - $1::interval", YEAR)
    work.error_message = ""
    assert await job.run(database, None) == "done 2"
    assert [run["outcome"] for run in await fetch_job_runs(outside_connection)] == ["done 2"]


async def test_cancelled_run_is_not_recorded_and_releases_its_lock(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    has_begun = asyncio.Event()

    async def never_end(_context: None) -> str:
        has_begun.set()
        return str(await asyncio.Event().wait())

    running = asyncio.create_task(Job("job", YEAR, never_end).run(database, None))
    await has_begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), await fetch_job_runs(outside_connection)) == (True, [])
    assert await Job("job", YEAR, CountingWork()).run(database, None) == "done 1"


async def test_job_runs_while_another_job_is_running(database: Database) -> None:
    async def run_another(_context: None) -> str:
        return str(await Job("another", YEAR, CountingWork()).run(database, None))

    assert await Job("job", YEAR, run_another).run(database, None) == "done 1"


async def test_lock_is_released_after_every_run(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    await job.run(database, None)
    await job.run(database, None)
    work.error_message = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None, even_if_done=True)
    assert await outside_connection.fetchval(COUNT_ADVISORY_LOCKS) == 0


# Several worker processes


async def test_four_workers_run_each_job_exactly_once_in_every_tick(
    environment: dict[str, str], outside_connection: asyncpg.Connection, recording_tables: None
) -> None:
    async with running_workers(environment, 4, "tests.support.ticking_worker") as workers:
        await poll_until(all_workers_connected(workers))
        runs_before = {
            name: len(await fetch_recorded_ticks(outside_connection, name))
            for name in ("write", "fail")
        }
        for name, number_of_runs in runs_before.items():
            await poll_until(has_recorded_ticks(outside_connection, name, number_of_runs + 3))
        # Wait for running jobs, and prevent new runs.
        for name in ("write", "fail"):
            await outside_connection.execute(LOCK_JOB, name)
        write_runs, failed_runs = [
            len(await fetch_recorded_ticks(outside_connection, name)) for name in ("write", "fail")
        ]

        async def all_runs_are_printed() -> bool:
            output = "".join(worker.output for worker in workers)
            printed_writes = output.count("write: wrote a row")
            printed_failures = output.count("this always fails\n")
            return printed_writes >= write_runs and printed_failures >= failed_runs

        await poll_until(all_runs_are_printed)
    output = "".join(worker.output for worker in workers)
    for name, outcome in (("write", "wrote a row"), ("fail", "failed: RuntimeError")):
        ticks = await fetch_recorded_ticks(outside_connection, name)
        assert ticks == [ticks[0] + n * JOB_INTERVAL for n in range(len(ticks))]
        query = "SELECT DISTINCT outcome FROM all_job_runs WHERE name = $1"
        assert [row["outcome"] for row in await outside_connection.fetch(query, name)] == [outcome]
    assert await outside_connection.fetchval("SELECT count(*) FROM work") == write_runs
    assert output.count("INFO [-] write: wrote a row\n") == write_runs
    assert output.count("\n    RuntimeError: this always fails\n") == failed_runs
    assert [worker.process.returncode for worker in workers] == [0] * 4


async def test_other_workers_take_over_job_when_its_worker_is_killed(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    second_connection: asyncpg.Connection,
    recording_tables: None,
) -> None:
    async def runs_have_begun(count: int) -> bool:
        return bool(await outside_connection.fetchval("SELECT count(*) = $1 FROM work", count))

    await second_connection.execute(f"SELECT pg_advisory_lock({JOB_LOCK_KEY})")
    async with running_workers(environment, 3, "tests.support.ticking_worker") as workers:
        await poll_until(lambda: runs_have_begun(1))
        # While this run waits for the lock of the test, the other job runs in the next two ticks.
        await poll_until(
            has_recorded_ticks(
                outside_connection,
                "fail",
                len(await fetch_recorded_ticks(outside_connection, "fail")) + 2,
            )
        )
        [row] = await outside_connection.fetch("SELECT process FROM work")
        [killed_worker] = [worker for worker in workers if worker.process.pid == row["process"]]
        assert await killed_worker.stop(signal.SIGKILL) == -signal.SIGKILL
        await poll_until(lambda: runs_have_begun(2))
        assert await fetch_recorded_ticks(outside_connection, "write") == []
        await second_connection.execute("SELECT pg_advisory_unlock_all()")
        await poll_until(has_recorded_ticks(outside_connection, "write", 2))
        for name in ("write", "fail"):
            await outside_connection.execute(LOCK_JOB, name)
    process_ids = [
        row["process"] for row in await outside_connection.fetch("SELECT process FROM work")
    ]
    assert Counter(process_ids)[killed_worker.process.pid] == 1
    assert len(process_ids) == len(await fetch_recorded_ticks(outside_connection, "write")) + 1
    for name in ("write", "fail"):
        ticks = await fetch_recorded_ticks(outside_connection, name)
        assert len(set(ticks)) == len(ticks)
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")

    async def all_locks_are_released() -> bool:
        return bool(await outside_connection.fetchval(COUNT_ADVISORY_LOCKS) == 0)

    await poll_until(all_locks_are_released)


# The scheduler


async def test_worker_runs_job_at_ticks_when_it_was_started_between_them(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    delays: list[timedelta] = []
    job: Job[JobContext]

    async def record_delay(_context: JobContext) -> str:
        delays.append(datetime.now(UTC) - job.latest_tick())
        return ""

    async def is_second_half_of_tick() -> bool:
        return datetime.now(UTC) - job.latest_tick() > job.interval / 2

    async def has_run_three_times() -> bool:
        return len(delays) == 3

    job = Job("job", JOB_INTERVAL, record_delay)
    await poll_until(is_second_half_of_tick)
    async with running_worker_in_this_process(environment, job):
        await poll_until(has_run_three_times)
    assert min(delays[1:]) < job.interval / 2


async def test_all_jobs_run_when_pool_has_one_connection(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_worker_in_this_process(environment, pool_size=1):
        await poll_until(jobs_logged(caplog, *(job.name for job in JOBS)))
    assert "failed" not in caplog.text
    assert len(await fetch_user_counts(outside_connection)) == 1


async def test_running_job_is_cancelled_when_worker_ends(environment: dict[str, str]) -> None:
    has_begun = asyncio.Event()
    has_ended = asyncio.Event()

    async def never_end(_context: JobContext) -> str:
        has_begun.set()
        try:
            return str(await asyncio.Event().wait())
        finally:
            has_ended.set()

    async with running_worker_in_this_process(environment, Job("job", YEAR, never_end)):
        await has_begun.wait()
    assert has_ended.is_set()


# The jobs of the service


async def test_worker_runs_due_jobs_when_it_starts(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    async with running_workers(environment) as [worker]:
        await poll_until(all_jobs_printed(worker))
    day = await outside_connection.fetchval(SELECT_TODAY)
    assert await fetch_user_counts(outside_connection) == [(day, 0)]
    assert f"INFO [-] count-users: counted 0 users on {day}\n" in worker.output
    result = "0 expired uploads, 0 aborted multipart uploads, 0 removed objects"
    assert f"INFO [-] sweep-storage: {result}\n" in worker.output
    assert worker.process.returncode == 0
    assert "WARNING" not in worker.output


async def test_worker_runs_job_at_start_when_latest_tick_was_missed(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "INSERT INTO job_runs SELECT 'count-users', date_trunc('day', at), at, 'counted' "
        "FROM (SELECT now() - interval '1 day' AS at)"
    )
    async with running_worker_in_this_process(environment):
        await poll_until(lambda: all_jobs_have_run(outside_connection))
        await poll_until(lambda: fetch_user_counts(outside_connection))
    assert await fetch_user_counts(outside_connection) == [
        (await outside_connection.fetchval(SELECT_TODAY), 0)
    ]


async def test_worker_does_not_run_job_at_start_when_it_has_run_in_this_tick(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The recorded tick is the next hour, because this hour may end during the test.
    await outside_connection.execute(
        "INSERT INTO job_runs "
        "SELECT 'count-users', date_trunc('hour', now()) + interval '1 hour', now(), 'counted'"
    )
    async with running_worker_in_this_process(environment):
        await poll_until(jobs_logged(caplog, "sweep-storage"))
    assert await fetch_user_counts(outside_connection) == []
    assert "count-users" not in caplog.text


async def test_worker_runs_no_job_until_the_schema_is_migrated(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    newest = await outside_connection.fetchval("SELECT version_num FROM alembic_version")
    await outside_connection.execute("UPDATE alembic_version SET version_num = '0005'")
    job = Job[JobContext]("job", YEAR, CountingWork())
    async with running_worker_in_this_process(environment, job):
        await poll_until(jobs_logged(caplog, "waiting for a usable schema"))
        assert await fetch_job_runs(outside_connection) == []
        await outside_connection.execute("UPDATE alembic_version SET version_num = $1", newest)
        await poll_until(jobs_logged(caplog, "job"))
    assert "database: its schema is at revision 0005" in caplog.text


async def test_four_workers_started_together_run_each_job_once(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    first_ticks = [job.latest_tick() for job in JOBS]
    async with running_workers(environment, 4) as workers:
        await poll_until(all_jobs_printed(*workers))
        await poll_until(all_workers_connected(workers))
    output = "".join(worker.output for worker in workers)
    assert len(await fetch_user_counts(outside_connection)) == 1
    for job, tick in zip(JOBS, first_ticks, strict=True):
        # The number is 0, unless a new tick has begun during the test.
        new_ticks = (job.latest_tick() - tick) // job.interval
        assert 1 <= output.count(f"INFO [-] {job.name}: ") <= 1 + new_ticks
    assert [worker.process.returncode for worker in workers] == [0] * 4
    assert "Traceback" not in output, output


async def test_failed_job_is_logged_and_other_jobs_run(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await outside_connection.execute("ALTER TABLE user_counts RENAME TO renamed_user_counts")
    async with running_worker_in_this_process(environment):
        await poll_until(jobs_logged(caplog, *(job.name for job in JOBS)))
    assert {
        run["name"]: run["outcome"].split(":")[0]
        for run in await fetch_job_runs(outside_connection)
    } == {
        "audit-storage": "0 unknown objects, 0 of them new",
        "count-users": "failed",
        "sweep-answers": "deleted 0 expired idempotency keys",
        "sweep-changes": "started the feed of another database again, deleted 0 changes",
        "sweep-storage": str(SweepResult()),
        "sweep-tokens": "0 expired tokens, 0 expired attempt counters",
    }
    [failure] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert failure.getMessage() == "count-users failed"
    assert failure.exc_info
    assert 'relation "user_counts" does not exist' in str(failure.exc_info[1])


async def test_error_that_follows_cancellation_of_job_is_logged_as_cancellation(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    has_started = asyncio.Event()

    async def work(_context: object) -> str:
        has_started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ResourceClosedError("This Connection is closed") from None
        return "never"

    job: Job[Any] = Job("cancelled-job", timedelta(hours=1), work)
    context: Any = SimpleNamespace(database=database)
    task = asyncio.create_task(_run_and_log_job(job, context))
    await has_started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert "cancelled-job was cancelled because the worker was stopped" in caplog.text
    assert "failed" not in caplog.text


async def test_next_worker_runs_job_when_worker_was_stopped_while_running_it(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    second_connection: asyncpg.Connection,
) -> None:
    async def is_waiting_for_lock() -> object:
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
        return await outside_connection.fetchval(
            query, await outside_connection.fetchval("SELECT current_database()")
        )

    async with second_connection.transaction():
        await second_connection.execute("LOCK TABLE user_counts")
        async with running_workers(environment) as [worker]:
            await poll_until(is_waiting_for_lock)
            assert await worker.stop() == 0
    assert "WARNING [-] count-users was cancelled because the worker was stopped\n" in worker.output
    assert "Traceback" not in worker.output
    async with running_workers(environment):
        await poll_until(lambda: all_jobs_have_run(outside_connection))
    assert len(await fetch_user_counts(outside_connection)) == 1


async def test_worker_keeps_running_when_database_refuses_connections(
    environment: dict[str, str],
) -> None:
    environment["DATABASE_URL"] = UNREACHABLE_DATABASE_URL
    async with running_workers(environment) as [worker]:
        await poll_until(all_jobs_printed(worker))
        assert psutil.pid_exists(worker.process.pid)
    assert worker.process.returncode == 0
    assert all(f"ERROR [-] {job.name} failed: A backend service" in worker.output for job in JOBS)
    assert "it does not accept connections" in worker.output
    assert "Traceback" not in worker.output
    assert "hunter2" not in worker.output
