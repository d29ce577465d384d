"""Jobs: once per tick however many processes there are, and none in the way of another."""

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
from tests.conftest import make_settings
from tests.support.factories import Json
from tests.support.processes import Worker, poll_until, running_workers
from tests.support.ticking_worker import JOB_INTERVAL, JOB_LOCK_KEY

pytestmark = pytest.mark.private_database

YEAR = timedelta(days=365)  # a tick that does not end while a test runs
LOCK = "SELECT pg_advisory_lock(hashtextextended('bookshelf job ' || $1, 0))"
LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid
WHERE locktype = 'advisory' AND datname = current_database()
"""
TODAY = "SELECT timezone('UTC', now())::date"
# Every note of a run that was ever made, in `noted`: `job_runs` has the last ones only.
TABLES = """
CREATE TABLE work (process int NOT NULL);
CREATE TABLE noted (name text NOT NULL, tick timestamptz NOT NULL, outcome text NOT NULL);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO noted VALUES (NEW.name, NEW.tick, NEW.outcome);
    RETURN NULL;
END $$;
CREATE TRIGGER keep AFTER INSERT OR UPDATE ON job_runs FOR EACH ROW EXECUTE FUNCTION keep();
"""


@pytest.fixture
async def tables(outside_connection: asyncpg.Connection) -> None:
    await outside_connection.execute(TABLES)


@pytest.fixture
async def second(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another connection that the service knows nothing of."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def environment(database_url: str, settings: Settings) -> dict[str, str]:
    """Of a worker over the test's database and its prefix of the store."""
    return {
        "DATABASE_URL": database_url,
        "S3_PREFIX": settings.s3_prefix,
        "DB_STATEMENT_TIMEOUT": "60",
        "REQUEST_TIMEOUT": "90",
    }


class Work:
    """A job's work that counts how often it was done, and fails while it is told to."""

    def __init__(self) -> None:
        self.done, self.failure = 0, ""

    async def __call__(self, _parts: None) -> str:
        self.done += 1
        if self.failure:
            raise RuntimeError(self.failure)
        return f"done {self.done}"


@asynccontextmanager
async def at_work(
    environment: dict[str, str], *jobs: Job[JobContext], size: int = 2
) -> AsyncIterator[None]:
    """A worker in this process, where its log is to be read, until the block ends."""
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


async def noted(outside_connection: asyncpg.Connection) -> list[Json]:
    rows = await outside_connection.fetch("SELECT name, tick, outcome FROM job_runs ORDER BY name")
    return [dict(row) for row in rows]


async def ticks(outside_connection: asyncpg.Connection, name: str) -> list[datetime]:
    rows = await outside_connection.fetch(
        "SELECT tick FROM noted WHERE name = $1 ORDER BY tick", name
    )
    return [row["tick"] for row in rows]


async def counted(outside_connection: asyncpg.Connection) -> list[tuple[date, int]]:
    rows = await outside_connection.fetch("SELECT day, count FROM user_counts ORDER BY day")
    return [(row["day"], row["count"]) for row in rows]


async def all_done(outside_connection: asyncpg.Connection) -> bool:
    """Whether each of the service's jobs has its record."""
    return len(await noted(outside_connection)) == len(JOBS)


def all_logged(*workers: Worker) -> Callable[[], Awaitable[bool]]:
    """Whether one of these has said how each of the service's jobs went."""

    async def holds() -> bool:
        said = "".join(each.output for each in workers)
        return all(f" [-] {job.name}" in said for job in JOBS)

    return holds


def all_connected(workers: list[Worker]) -> Callable[[], Awaitable[bool]]:
    """Whether each has a socket more than the pair of its event loop."""

    async def holds() -> bool:
        processes = [psutil.Process(each.process.pid) for each in workers]
        return all(len(each.net_connections("all")) > 2 for each in processes)

    return holds


def all_told(caplog: pytest.LogCaptureFixture, *jobs: str) -> Callable[[], Awaitable[bool]]:
    """Whether the log of this process has how each of these jobs went."""
    caplog.set_level("INFO", "app.worker")

    async def holds() -> bool:
        told = [each.getMessage() for each in caplog.records]
        return all(any(line.startswith(name) for line in told) for name in jobs)

    return holds


def has_ticked(
    outside_connection: asyncpg.Connection, name: str, times: int
) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(await ticks(outside_connection, name)) >= times

    return holds


# A job alone


def test_ticks_are_counted_from_midnight_utc() -> None:
    now = datetime.now(UTC)
    for every in (timedelta(hours=1), timedelta(minutes=10), timedelta(days=1)):
        tick = Job("job", every, Work()).latest_tick()
        midnight = tick.replace(hour=0, minute=0, second=0, microsecond=0)
        assert (tick - midnight) % every == timedelta()
        assert now - every < tick <= datetime.now(UTC)


async def test_a_job_is_done_once_in_a_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, doing := Work())
    assert [await job.run(database, None) for _ in range(3)] == ["done 1", None, None]
    assert doing.done == 1
    assert await noted(outside_connection) == [
        {"name": "job", "tick": job.latest_tick(), "outcome": "done 1"}
    ]


async def test_a_job_is_done_once_however_many_are_at_it(database: Database) -> None:
    job = Job("job", YEAR, doing := Work())
    said = await asyncio.gather(*(job.run(database, None) for _ in range(20)))
    assert (doing.done, [each for each in said if each]) == (1, ["done 1"])


async def test_a_job_can_be_done_again_in_a_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, Work())
    for said in ("done 1", "done 2"):
        assert await job.run(database, None, even_if_done=True) == said
        assert await noted(outside_connection) == [
            {"name": "job", "tick": job.latest_tick(), "outcome": said}
        ]
    assert await job.run(database, None) is None


async def test_a_job_is_due_again_in_the_next_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, Work())
    await job.run(database, None)
    await outside_connection.execute("UPDATE job_runs SET tick = tick - $1::interval", YEAR)
    assert await job.run(database, None) == "done 2"
    assert [each["tick"] for each in await noted(outside_connection)] == [job.latest_tick()]


async def test_when_a_run_ended_is_the_end_of_its_work(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    times: list[datetime] = []

    async def take_time(_parts: None) -> str:
        times.append(await outside_connection.fetchval("SELECT clock_timestamp()"))
        return ""

    await Job("job", YEAR, take_time).run(database, None)
    assert await outside_connection.fetchval("SELECT finished_at FROM job_runs") > times[0]


@pytest.mark.parametrize("anyway", [False, True])
async def test_a_job_that_another_process_is_at_is_left_to_it(
    database: Database, outside_connection: asyncpg.Connection, anyway: bool
) -> None:
    job = Job("job", YEAR, doing := Work())
    await outside_connection.execute(LOCK.replace("$1", "'job'"))
    assert await job.run(database, None, even_if_done=anyway) is None
    assert (doing.done, await noted(outside_connection)) == (0, [])
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")
    assert await job.run(database, None, even_if_done=anyway) == "done 1"


async def test_a_job_that_fails_is_noted_and_raises_its_error(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, doing := Work())
    doing.failure = "no"
    with pytest.raises(RuntimeError, match="no"):
        await job.run(database, None)
    expected = {"name": "job", "tick": job.latest_tick(), "outcome": "failed: RuntimeError"}
    assert await noted(outside_connection) == [expected]


async def test_a_job_that_failed_is_not_tried_again_within_the_tick(database: Database) -> None:
    job = Job("job", YEAR, doing := Work())
    doing.failure = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None)
    assert await job.run(database, None) is None
    assert doing.done == 1


async def test_a_job_that_failed_is_tried_again_in_the_next_tick(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, doing := Work())
    doing.failure = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None)
    await outside_connection.execute("UPDATE job_runs SET tick = tick - $1::interval", YEAR)
    doing.failure = ""
    assert await job.run(database, None) == "done 2"
    assert [each["outcome"] for each in await noted(outside_connection)] == ["done 2"]


async def test_a_job_that_is_cut_short_is_not_noted_and_let_go(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    begun = asyncio.Event()

    async def never_end(_parts: None) -> str:
        begun.set()
        return str(await asyncio.Event().wait())

    running = asyncio.create_task(Job("job", YEAR, never_end).run(database, None))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (running.cancelled(), await noted(outside_connection)) == (True, [])
    assert await Job("job", YEAR, Work()).run(database, None) == "done 1"


async def test_a_job_under_way_keeps_no_other_job_waiting(database: Database) -> None:
    async def run_another(_parts: None) -> str:
        return str(await Job("another", YEAR, Work()).run(database, None))

    assert await Job("job", YEAR, run_another).run(database, None) == "done 1"


async def test_no_lock_is_left_after_a_run(
    database: Database, outside_connection: asyncpg.Connection
) -> None:
    job = Job("job", YEAR, doing := Work())
    await job.run(database, None)
    await job.run(database, None)
    doing.failure = "no"
    with pytest.raises(RuntimeError):
        await job.run(database, None, even_if_done=True)
    assert await outside_connection.fetchval(LOCKS) == 0


# Many processes


async def test_four_workers_do_each_tick_of_each_job_once_and_miss_none(
    environment: dict[str, str], outside_connection: asyncpg.Connection, tables: None
) -> None:
    async with running_workers(environment, 4, "tests.support.ticking_worker") as workers:
        await poll_until(all_connected(workers))
        begun = {name: len(await ticks(outside_connection, name)) for name in ("write", "fail")}
        for name, before in begun.items():
            await poll_until(has_ticked(outside_connection, name, before + 3))
        for name in ("write", "fail"):  # whoever is at it ends it; then nobody begins
            await outside_connection.execute(LOCK, name)
        written, failed = [len(await ticks(outside_connection, name)) for name in ("write", "fail")]

        async def all_is_said() -> bool:
            said = "".join(each.output for each in workers)
            lines = (said.count("write: wrote a row"), said.count("this always fails\n"))
            return lines[0] >= written and lines[1] >= failed

        await poll_until(all_is_said)
    said = "".join(each.output for each in workers)
    for name, outcome in (("write", "wrote a row"), ("fail", "failed: RuntimeError")):
        found = await ticks(outside_connection, name)
        assert found == [found[0] + n * JOB_INTERVAL for n in range(len(found))]
        query = "SELECT DISTINCT outcome FROM noted WHERE name = $1"
        assert [each["outcome"] for each in await outside_connection.fetch(query, name)] == [
            outcome
        ]
    assert await outside_connection.fetchval("SELECT count(*) FROM work") == written
    assert said.count("INFO [-] write: wrote a row\n") == written
    assert said.count("\n    RuntimeError: this always fails\n") == failed
    assert [each.process.returncode for each in workers] == [0] * 4


async def test_a_worker_killed_in_the_middle_of_a_job_leaves_it_to_the_others(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    second: asyncpg.Connection,
    tables: None,
) -> None:
    async def begun(times: int) -> bool:
        return bool(await outside_connection.fetchval("SELECT count(*) = $1 FROM work", times))

    await second.execute(f"SELECT pg_advisory_lock({JOB_LOCK_KEY})")
    async with running_workers(environment, 3, "tests.support.ticking_worker") as workers:
        await poll_until(lambda: begun(1))
        # It has the lock for some ticks; meanwhile the other job goes on.
        await poll_until(
            has_ticked(outside_connection, "fail", len(await ticks(outside_connection, "fail")) + 2)
        )
        [first] = await outside_connection.fetch("SELECT process FROM work")
        [victim] = [each for each in workers if each.process.pid == first["process"]]
        assert await victim.stop(signal.SIGKILL) == -signal.SIGKILL
        await poll_until(lambda: begun(2))
        assert await ticks(outside_connection, "write") == []
        await second.execute("SELECT pg_advisory_unlock_all()")
        await poll_until(has_ticked(outside_connection, "write", 2))
        for name in ("write", "fail"):
            await outside_connection.execute(LOCK, name)
    processes = [
        row["process"] for row in await outside_connection.fetch("SELECT process FROM work")
    ]
    assert Counter(processes)[victim.process.pid] == 1
    assert len(processes) == len(await ticks(outside_connection, "write")) + 1
    for name in ("write", "fail"):
        found = await ticks(outside_connection, name)
        assert len(set(found)) == len(found)
    await outside_connection.execute("SELECT pg_advisory_unlock_all()")

    async def nothing_is_locked() -> bool:
        return bool(await outside_connection.fetchval(LOCKS) == 0)

    await poll_until(nothing_is_locked)


# The scheduler


async def test_a_job_is_run_when_it_is_due_and_not_so_long_after_the_start(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    late: list[timedelta] = []
    job: Job[JobContext]

    async def look(_parts: JobContext) -> str:
        late.append(datetime.now(UTC) - job.latest_tick())
        return ""

    async def is_in_the_second_half_of_a_tick() -> bool:
        return datetime.now(UTC) - job.latest_tick() > job.interval / 2

    async def has_run_often() -> bool:
        return len(late) == 3

    job = Job("job", JOB_INTERVAL, look)
    await poll_until(is_in_the_second_half_of_a_tick)
    async with at_work(environment, job):
        await poll_until(has_run_often)
    assert min(late[1:]) < job.interval / 2


async def test_a_job_and_its_lock_fit_into_the_smallest_pool(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with at_work(environment, size=1):
        await poll_until(all_told(caplog, *(job.name for job in JOBS)))
    assert "failed" not in caplog.text
    assert len(await counted(outside_connection)) == 1


async def test_nothing_of_a_worker_outlives_it(environment: dict[str, str]) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def never_end(_parts: JobContext) -> str:
        begun.set()
        try:
            return str(await asyncio.Event().wait())
        finally:
            ended.set()

    async with at_work(environment, Job("job", YEAR, never_end)):
        await begun.wait()
    assert ended.is_set()


# The service's own jobs


async def test_a_worker_does_at_its_start_what_is_due(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    async with running_workers(environment) as [worker]:
        await poll_until(all_logged(worker))
    day = await outside_connection.fetchval(TODAY)
    assert await counted(outside_connection) == [(day, 0)]
    assert f"INFO [-] count-users: counted 0 users on {day}\n" in worker.output
    nothing = "0 expired uploads, 0 aborted multipart uploads, 0 removed objects, 0 unknown objects"
    assert f"INFO [-] sweep-storage: {nothing}\n" in worker.output
    assert worker.process.returncode == 0
    assert "WARNING" not in worker.output


async def test_a_missed_midnight_is_made_up_at_the_start(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "INSERT INTO job_runs SELECT 'count-users', date_trunc('day', at), at, 'counted' "
        "FROM (SELECT now() - interval '1 day' AS at)"
    )
    async with at_work(environment):
        await poll_until(lambda: all_done(outside_connection))
        await poll_until(lambda: counted(outside_connection))
    assert await counted(outside_connection) == [(await outside_connection.fetchval(TODAY), 0)]


async def test_a_start_in_a_tick_that_has_had_its_run_does_nothing(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Until the end of the next hour, should this one end meanwhile.
    await outside_connection.execute(
        "INSERT INTO job_runs "
        "SELECT 'count-users', date_trunc('hour', now()) + interval '1 hour', now(), 'counted'"
    )
    async with at_work(environment):
        await poll_until(all_told(caplog, "sweep-storage"))
    assert await counted(outside_connection) == []
    assert "count-users" not in caplog.text


async def test_four_workers_started_at_once_do_each_job_once(
    environment: dict[str, str], outside_connection: asyncpg.Connection
) -> None:
    before = [job.latest_tick() for job in JOBS]
    async with running_workers(environment, 4) as workers:
        await poll_until(all_logged(*workers))
        await poll_until(all_connected(workers))
    said = "".join(each.output for each in workers)
    assert len(await counted(outside_connection)) == 1
    for job, tick in zip(JOBS, before, strict=True):
        meanwhile = (job.latest_tick() - tick) // job.interval  # hardly ever a tick more
        assert 1 <= said.count(f"INFO [-] {job.name}: ") <= 1 + meanwhile
    assert [each.process.returncode for each in workers] == [0] * 4
    assert "Traceback" not in said


async def test_a_job_that_fails_is_logged_and_keeps_no_other_from_its_work(
    environment: dict[str, str],
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await outside_connection.execute("ALTER TABLE user_counts RENAME TO not_there")
    async with at_work(environment):
        await poll_until(all_told(caplog, *(job.name for job in JOBS)))
    assert {
        each["name"]: each["outcome"].split(":")[0] for each in await noted(outside_connection)
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


async def test_a_worker_told_to_stop_in_the_middle_of_a_job_lets_it_go(
    environment: dict[str, str], outside_connection: asyncpg.Connection, second: asyncpg.Connection
) -> None:
    async def is_waiting() -> object:
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"
        return await outside_connection.fetchval(
            query, await outside_connection.fetchval("SELECT current_database()")
        )

    async with second.transaction():
        await second.execute("LOCK TABLE user_counts")
        async with running_workers(environment) as [worker]:
            await poll_until(is_waiting)
            assert await worker.stop() == 0
    assert "WARNING [-] count-users was cancelled because the worker was stopped\n" in worker.output
    assert "Traceback" not in worker.output
    async with running_workers(environment):
        await poll_until(lambda: all_done(outside_connection))
    assert len(await counted(outside_connection)) == 1


async def test_a_worker_outlives_a_database_that_does_not_answer(
    environment: dict[str, str],
) -> None:
    environment["DATABASE_URL"] = "postgresql://somebody:hunter2@127.0.0.1:1/books"
    async with running_workers(environment) as [worker]:
        await poll_until(all_logged(worker))
        assert psutil.pid_exists(worker.process.pid)
    assert worker.process.returncode == 0
    assert all(f"ERROR [-] {job.name} failed\n    Traceback" in worker.output for job in JOBS)
    assert "hunter2" not in worker.output
