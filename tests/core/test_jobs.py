"""Scheduled jobs: each runs once per tick, and none blocks another."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import asyncpg
import psutil
import pytest

from app.core.db import Database
from app.core.jobs import Job
from app.documents.sweeper import SweepResult
from app.settings import Settings
from app.worker import JOBS, JobContext, run_worker
from tests.support.factories import Json
from tests.support.processes import Worker, poll_until, running_workers
from tests.support.settings import make_settings
from tests.support.ticking_worker import JOB_INTERVAL, JOB_LOCK_KEY

pytestmark = pytest.mark.private_database

YEAR = timedelta(days=365)  # an interval whose tick does not end while a test runs
LOCK_JOB = "SELECT pg_advisory_lock(hashtextextended('bookshelf job ' || $1, 0))"
COUNT_LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid
WHERE locktype = 'advisory' AND datname = current_database()
"""
SELECT_TODAY = "SELECT timezone('UTC', now())::date"
# The trigger copies every recorded run to `noted`, because `job_runs` has only the last ones.
CREATE_TABLES = """
CREATE TABLE work (process int NOT NULL);
CREATE TABLE noted (name text NOT NULL, tick timestamptz NOT NULL, outcome text NOT NULL);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO noted VALUES (NEW.name, NEW.tick, NEW.outcome);
    RETURN NULL;
END $$;
CREATE TRIGGER keep AFTER INSERT OR UPDATE ON job_runs FOR EACH ROW EXECUTE FUNCTION keep();
"""


@pytest.fixture
async def recording_tables(outside_connection: asyncpg.Connection) -> None:
    await outside_connection.execute(CREATE_TABLES)


@pytest.fixture
async def second_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another connection that does not belong to the service."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def environment(database_url: str, settings: Settings) -> dict[str, str]:
    """Environment variables of a worker that uses the test's database and its part of the store."""
    return {
        "DATABASE_URL": database_url,
        "S3_PREFIX": settings.s3_prefix,
        "DB_STATEMENT_TIMEOUT": "60",
        "REQUEST_TIMEOUT": "90",
    }


class CountingWork:
    """The work of a job that counts its runs, and raises an error while `failure` is not empty."""

    def __init__(self) -> None:
        self.done = 0
        self.failure = ""

    async def __call__(self, _context: None) -> str:
        self.done += 1
        if self.failure:
            raise RuntimeError(self.failure)
        return f"done {self.done}"


@asynccontextmanager
async def run_worker_in_process(
    environment: dict[str, str], *jobs: Job[JobContext], size: int = 2
) -> AsyncIterator[None]:
    """Run a worker in this process, so that `caplog` has its log, until the block ends."""
    settings = make_settings(
        environment["DATABASE_URL"], s3_prefix=environment["S3_PREFIX"], db_pool_size=size
    )
    working = asyncio.create_task(run_worker(settings, jobs or JOBS))
    try:
        yield
    finally:
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()


async def job_runs(outside_connection: asyncpg.Connection) -> list[Json]:
    rows = await outside_connection.fetch("SELECT name, tick, outcome FROM job_runs ORDER BY name")
    return [dict(row) for row in rows]


async def recorded_ticks(outside_connection: asyncpg.Connection, name: str) -> list[datetime]:
    rows = await outside_connection.fetch(
        "SELECT tick FROM noted WHERE name = $1 ORDER BY tick", name
    )
    return [row["tick"] for row in rows]


async def user_counts(outside_connection: asyncpg.Connection) -> list[tuple[date, int]]:
    rows = await outside_connection.fetch("SELECT day, count FROM user_counts ORDER BY day")
    return [(row["day"], row["count"]) for row in rows]


async def all_jobs_recorded(outside_connection: asyncpg.Connection) -> bool:
    """Return whether a run of each of the service's jobs is recorded."""
    return len(await job_runs(outside_connection)) == len(JOBS)


def all_jobs_printed(*workers: Worker) -> Callable[[], Awaitable[bool]]:
    """Return a check that these workers have printed the outcome of each of the service's jobs."""

    async def is_fulfilled() -> bool:
        outcomes = "".join(each.output for each in workers)
        return all(f" [-] {job.name}" in outcomes for job in JOBS)

    return is_fulfilled


def all_workers_connected(workers: list[Worker]) -> Callable[[], Awaitable[bool]]:
    """Return a check that each worker has a socket besides the pair of its event loop."""

    async def is_fulfilled() -> bool:
        processes = [psutil.Process(each.process.pid) for each in workers]
        return all(len(each.net_connections("all")) > 2 for each in processes)

    return is_fulfilled


def jobs_logged(caplog: pytest.LogCaptureFixture, *jobs: str) -> Callable[[], Awaitable[bool]]:
    """Return a check that the log of this process contains the outcome of each of these jobs."""
    caplog.set_level("INFO", "app.worker")

    async def is_fulfilled() -> bool:
        messages = [each.getMessage() for each in caplog.records]
        return all(any(line.startswith(name) for line in messages) for name in jobs)

    return is_fulfilled


def has_recorded_ticks(
    outside_connection: asyncpg.Connection, name: str, times: int
) -> Callable[[], Awaitable[bool]]:
    async def is_fulfilled() -> bool:
        return len(await recorded_ticks(outside_connection, name)) >= times

    return is_fulfilled


# A single job


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
    assert work.done == 1
    assert await job_runs(outside_connection) == [
        {"name": "job", "tick": job.latest_tick(), "outcome": "done 1"}
    ]


async def test_job_runs_once_when_started_many_times_concurrently(database: Database) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    outcomes = await asyncio.gather(*(job.run(database, None) for _ in range(20)))
    assert (work.done, [each for each in outcomes if each]) == (1, ["done 1"])


async def test_job_runs_again_in_same_tick_with_even_if_done(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, CountingWork())
    for outcome in ("done 1", "done 2"):
        assert await job.run(database, None, even_if_done=True) == outcome
        assert await job_runs(outside_connection) == [
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
    assert [each["tick"] for each in await job_runs(outside_connection)] == [job.latest_tick()]


async def test_finished_at_is_after_end_of_work(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    times: list[datetime] = []

    async def take_time(_context: None) -> str:
        times.append(await outside_connection.fetchval("SELECT clock_timestamp()"))
        return ""

    await Job("job", YEAR, take_time).run(database, None)
    assert await outside_connection.fetchval("SELECT finished_at FROM job_runs") > times[0]


@pytest.mark.parametrize("even_if_done", [False, True])
async def test_job_does_not_run_while_another_process_has_its_lock(
    database: Database, outside_connection: asyncpg.Connection, even_if_done: bool
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    await outside_connection.execute(LOCK_JOB.replace("$1", "'job'"))
    assert await job.run(database, None, even_if_done=even_if_done) is None
    assert (work.done, await job_runs(outside_connection)) == (0, [])
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")
    assert await job.run(database, None, even_if_done=even_if_done) == "done 1"


async def test_failed_run_is_recorded_and_raises_its_error(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    work.failure = "no"
    with pytest.raises(RuntimeError, match="no"):
        await job.run(database, None)
    expected = {"name": "job", "tick": job.latest_tick(), "outcome": "failed: RuntimeError"}
    assert await job_runs(outside_connection) == [expected]


async def test_failed_job_does_not_run_again_in_same_tick(database: Database) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    work.failure = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None)
    assert await job.run(database, None) is None
    assert work.done == 1


async def test_failed_job_runs_again_in_next_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    work = CountingWork()
    job = Job("job", YEAR, work)
    work.failure = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None)
    await outside_connection.execute("UPDATE job_runs SET tick = tick - $1::interval", YEAR)
    work.failure = ""
    assert await job.run(database, None) == "done 2"
    assert [each["outcome"] for each in await job_runs(outside_connection)] == ["done 2"]


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
    assert (running.cancelled(), await job_runs(outside_connection)) == (True, [])
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
    work.failure = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None, even_if_done=True)
    assert await outside_connection.fetchval(COUNT_LOCKS) == 0


# Many processes


async def test_four_workers_run_each_job_once_per_tick_and_miss_none(
    environment: dict[str, str], outside_connection: asyncpg.Connection, recording_tables: None
) -> None:
    async with running_workers(environment, 4, "tests.support.ticking_worker") as workers:
        await poll_until(all_workers_connected(workers))
        runs_before = {
            name: len(await recorded_ticks(outside_connection, name)) for name in ("write", "fail")
        }
        for name, number_of_runs in runs_before.items():
            await poll_until(has_recorded_ticks(outside_connection, name, number_of_runs + 3))
        for name in ("write", "fail"):  # wait for running jobs, and prevent new runs
            await outside_connection.execute(LOCK_JOB, name)
        written, failed = [
            len(await recorded_ticks(outside_connection, name)) for name in ("write", "fail")
        ]

        async def all_is_said() -> bool:
            outcomes = "".join(each.output for each in workers)
            lines = (outcomes.count("write: wrote a row"), outcomes.count("this always fails\n"))
            return lines[0] >= written and lines[1] >= failed

        await poll_until(all_is_said)
    outcomes = "".join(each.output for each in workers)
    for name, outcome in (("write", "wrote a row"), ("fail", "failed: RuntimeError")):
        ticks = await recorded_ticks(outside_connection, name)
        assert ticks == [ticks[0] + n * JOB_INTERVAL for n in range(len(ticks))]
        query = "SELECT DISTINCT outcome FROM noted WHERE name = $1"
        assert [each["outcome"] for each in await outside_connection.fetch(query, name)] == [
            outcome
        ]
    assert await outside_connection.fetchval("SELECT count(*) FROM work") == written
    assert outcomes.count("INFO [-] write: wrote a row\n") == written
    assert outcomes.count("\n    RuntimeError: this always fails\n") == failed
    assert [each.process.returncode for each in workers] == [0] * 4


async def test_other_workers_take_over_job_when_its_worker_is_killed(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    second_connection: asyncpg.Connection,
    recording_tables: None,
) -> None:
    async def has_begun(times: int) -> bool:
        return bool(await outside_connection.fetchval("SELECT count(*) = $1 FROM work", times))

    await second_connection.execute(f"SELECT pg_advisory_lock({JOB_LOCK_KEY})")
    async with running_workers(environment, 3, "tests.support.ticking_worker") as workers:
        await poll_until(lambda: has_begun(1))
        # The process keeps the lock for some ticks, in which the other job goes on.
        await poll_until(
            has_recorded_ticks(
                outside_connection,
                "fail",
                len(await recorded_ticks(outside_connection, "fail")) + 2,
            )
        )
        [first] = await outside_connection.fetch("SELECT process FROM work")
        [victim] = [each for each in workers if each.process.pid == first["process"]]
        assert await victim.stop(signal.SIGKILL) == -signal.SIGKILL
        await poll_until(lambda: has_begun(2))
        assert await recorded_ticks(outside_connection, "write") == []
        await second_connection.execute("SELECT pg_advisory_unlock_all()")
        await poll_until(has_recorded_ticks(outside_connection, "write", 2))
        for name in ("write", "fail"):
            await outside_connection.execute(LOCK_JOB, name)
    processes = [
        row["process"] for row in await outside_connection.fetch("SELECT process FROM work")
    ]
    assert Counter(processes)[victim.process.pid] == 1
    assert len(processes) == len(await recorded_ticks(outside_connection, "write")) + 1
    for name in ("write", "fail"):
        ticks = await recorded_ticks(outside_connection, name)
        assert len(set(ticks)) == len(ticks)
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")

    async def nothing_is_locked() -> bool:
        return bool(await outside_connection.fetchval(COUNT_LOCKS) == 0)

    await poll_until(nothing_is_locked)


# The scheduler


async def test_worker_runs_job_at_its_ticks_and_not_relative_to_its_start(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    delays: list[timedelta] = []
    job: Job[JobContext]

    async def record_delay(_context: JobContext) -> str:
        delays.append(datetime.now(UTC) - job.latest_tick())
        return ""

    async def is_in_the_second_half_of_a_tick() -> bool:
        return datetime.now(UTC) - job.latest_tick() > job.interval / 2

    async def has_run_often() -> bool:
        return len(delays) == 3

    job = Job("job", JOB_INTERVAL, record_delay)
    await poll_until(is_in_the_second_half_of_a_tick)
    async with run_worker_in_process(environment, job):
        await poll_until(has_run_often)
    assert min(delays[1:]) < job.interval / 2


async def test_all_jobs_run_when_pool_has_one_connection(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with run_worker_in_process(environment, size=1):
        await poll_until(jobs_logged(caplog, *(job.name for job in JOBS)))
    assert "failed" not in caplog.text
    assert len(await user_counts(outside_connection)) == 1


async def test_running_job_is_cancelled_when_worker_ends(environment: dict[str, str]) -> None:
    has_begun, ended = asyncio.Event(), asyncio.Event()

    async def never_end(_context: JobContext) -> str:
        has_begun.set()
        try:
            return str(await asyncio.Event().wait())
        finally:
            ended.set()

    async with run_worker_in_process(environment, Job("job", YEAR, never_end)):
        await has_begun.wait()
    assert ended.is_set()


# The service's own jobs


async def test_worker_runs_due_jobs_when_it_starts(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    async with running_workers(environment) as [worker]:
        await poll_until(all_jobs_printed(worker))
    day = await outside_connection.fetchval(SELECT_TODAY)
    assert await user_counts(outside_connection) == [(day, 0)]
    assert f"INFO [-] count-users: counted 0 users on {day}\n" in worker.output
    nothing = "0 expired uploads, 0 aborted multipart uploads, 0 removed objects, 0 unknown objects"
    assert f"INFO [-] sweep-storage: {nothing}\n" in worker.output
    assert worker.process.returncode == 0
    assert "WARNING" not in worker.output


async def test_worker_runs_job_at_start_when_midnight_was_missed(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "INSERT INTO job_runs SELECT 'count-users', date_trunc('day', at), at, 'counted' "
        "FROM (SELECT now() - interval '1 day' AS at)"
    )
    async with run_worker_in_process(environment):
        await poll_until(lambda: all_jobs_recorded(outside_connection))
        await poll_until(lambda: user_counts(outside_connection))
    assert await user_counts(outside_connection) == [
        (await outside_connection.fetchval(SELECT_TODAY), 0)
    ]


async def test_worker_does_not_run_job_at_start_when_tick_is_done(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # The recorded tick is the next hour, because this hour may end during the test.
    await outside_connection.execute(
        "INSERT INTO job_runs "
        "SELECT 'count-users', date_trunc('hour', now()) + interval '1 hour', now(), 'counted'"
    )
    async with run_worker_in_process(environment):
        await poll_until(jobs_logged(caplog, "sweep-storage"))
    assert await user_counts(outside_connection) == []
    assert "count-users" not in caplog.text


async def test_four_workers_started_together_run_each_job_once(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    first_ticks = [job.latest_tick() for job in JOBS]
    async with running_workers(environment, 4) as workers:
        await poll_until(all_jobs_printed(*workers))
        await poll_until(all_workers_connected(workers))
    outcomes = "".join(each.output for each in workers)
    assert len(await user_counts(outside_connection)) == 1
    for job, tick in zip(JOBS, first_ticks, strict=True):
        meanwhile = (job.latest_tick() - tick) // job.interval  # 0, unless a new tick has begun
        assert 1 <= outcomes.count(f"INFO [-] {job.name}: ") <= 1 + meanwhile
    assert [each.process.returncode for each in workers] == [0] * 4
    assert "Traceback" not in outcomes


async def test_failed_job_is_logged_and_other_jobs_run(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await outside_connection.execute("ALTER TABLE user_counts RENAME TO not_there")
    async with run_worker_in_process(environment):
        await poll_until(jobs_logged(caplog, *(job.name for job in JOBS)))
    assert {
        each["name"]: each["outcome"].split(":")[0] for each in await job_runs(outside_connection)
    } == {
        "count-users": "failed",
        "sweep-answers": "deleted 0 expired idempotency keys",
        "sweep-storage": str(SweepResult(0, 0, 0, [])),
        "sweep-tokens": "0 expired tokens, 0 expired login failures",
    }
    [failure] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert failure.getMessage() == "count-users failed"
    assert failure.exc_info
    assert 'relation "user_counts" does not exist' in str(failure.exc_info[1])


async def test_job_is_released_when_worker_is_stopped_while_running_it(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    second_connection: asyncpg.Connection,
) -> None:
    async def is_waiting() -> object:
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
        return await outside_connection.fetchval(
            query, await outside_connection.fetchval("SELECT current_database()")
        )

    async with second_connection.transaction():
        await second_connection.execute("LOCK TABLE user_counts")
        async with running_workers(environment) as [worker]:
            await poll_until(is_waiting)
            assert await worker.stop() == 0
    assert "WARNING [-] count-users was cancelled because the worker was stopped\n" in worker.output
    assert "Traceback" not in worker.output
    async with running_workers(environment):
        await poll_until(lambda: all_jobs_recorded(outside_connection))
    assert len(await user_counts(outside_connection)) == 1


async def test_worker_continues_when_database_does_not_respond(environment: dict[str, str]) -> None:
    environment["DATABASE_URL"] = "postgresql://somebody:hunter2@127.0.0.1:1/books"
    async with running_workers(environment) as [worker]:
        await poll_until(all_jobs_printed(worker))
        assert psutil.pid_exists(worker.process.pid)
    assert worker.process.returncode == 0
    assert all(f"ERROR [-] {job.name} failed\n    Traceback" in worker.output for job in JOBS)
    assert "hunter2" not in worker.output
