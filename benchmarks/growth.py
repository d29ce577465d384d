"""Measure the scheduled jobs, and the deletion of users, on tables of a million rows.

    python -m benchmarks.growth [--rows 1000000]

Each job runs once with empty tables and once with full ones, in a process of its own. The table has
the peak memory of the process, and the longest statement according to the log of Postgres. The
memory must not depend on the number of rows, and a statement must stay far below
`DB_STATEMENT_TIMEOUT`.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import uuid4

import asyncpg

from app import embedded, schema
from app.embedded.rclone import BUCKET
from app.worker import JOBS
from benchmarks.cores import Cores
from benchmarks.dataset import sqlalchemy_url
from benchmarks.servers import PROJECT_ROOT, SERVICE_MODULE, Server, running_module

# Objects that have to be removed from the store, or that the store has without a row. Each takes
# requests to the store, so their number is smaller.
STORE_OBJECTS: Final = 1_000
OWNED_DOCUMENTS: Final = 100_000
_DURATION: Final = re.compile(r"duration: ([\d.]+) ms")

# The rows that the jobs have to read or delete, and as many that they have to leave alone. `{rows}`
# is the number of rows of each table.
FILL_TABLES: Final = """
INSERT INTO stored_answers (id, fingerprint, status, headers, body, created_at)
SELECT sha256(int4send(n)), sha256(int4send(n)), 201, '{{"location": "/books/1"}}',
    convert_to(repeat('x', 300), 'UTF8'), now() - n % 48 * interval '1 hour'
FROM generate_series(1, {rows}) n;
INSERT INTO users (name, email, password_hash)
SELECT 'User ' || n, n || '@example.com', 'x' FROM generate_series(1, {rows}) n;
INSERT INTO tokens (id, user_id, name, digest, expires_at)
SELECT gen_random_uuid(), n, 'Firefox on Linux', sha256(int4send(n)),
    now() + (n % 2 * 2 - 1) * interval '1 hour'
FROM generate_series(1, {rows}) n;
INSERT INTO attempt_counters (kind, digest, attempted_at, empty_at)
SELECT 'account', sha256(int4send(n)), now(), now() + (n % 2 * 2 - 1) * interval '1 hour'
FROM generate_series(1, {rows}) n;
INSERT INTO stored_objects (id, key, state, touched_at)
SELECT gen_random_uuid(), 'documents/ready/' || n, 'ready', now() - interval '1 day'
FROM generate_series(1, {rows}) n;
INSERT INTO stored_objects (id, key, state, touched_at)
SELECT gen_random_uuid(), 'documents/deleting/' || n, 'deleting', now() - interval '1 day'
FROM generate_series(1, {store_objects}) n;
INSERT INTO unknown_objects (key, audited_at)
SELECT 'documents/unknown/' || n, now() - interval '1 day' FROM generate_series(1, {rows}) n;
ANALYZE;
"""
INSERT_OWNER: Final = """
INSERT INTO users (name, email, password_hash) VALUES ('Ada', 'ada@example.com', 'x') RETURNING id
"""
INSERT_OWNED_DOCUMENTS: Final = """
INSERT INTO stored_objects (id, key)
SELECT gen_random_uuid(), 'documents/owned/' || n FROM generate_series(1, {documents}) n;
INSERT INTO documents (id, name, owner_id, file_id, size)
SELECT id, 'A report', {owner_id}, id, 1 FROM stored_objects WHERE state = 'pending'
"""


class GrowthBench:
    """Runs commands of the service with one database and one object store."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self._postgres_log = directory / "postgres.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PROJECT_ROOT),
            "APP_ENV": "test",
            "DATABASE_URL": url,
            "DATA_DIR": str(directory / "store"),
            "LOG_LEVEL": "WARNING",
        }

    def measure_job(self, job_name: str) -> str:
        """Run a job, and return the last columns of its row in the table."""
        log_size = self._postgres_log.stat().st_size
        started_at = monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "jobs", "run", job_name],
            cwd=self.directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        outcome = process.stdout.read().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{job_name} failed")
        seconds = monotonic() - started_at
        longest = self.longest_statement(log_size)
        return f"{outcome} | {seconds:.1f} | {usage.ru_maxrss / 1024:.0f} | {longest:.0f} |"

    def measure_user_deletion(self, user_id: int) -> str:
        """Delete a user with a request, and return the last columns of the row in the table."""
        with running_module(
            "service",
            SERVICE_MODULE,
            cores=Cores(),
            directory=self.directory,
            database_url=self.url,
        ) as server:
            # The first request of a process takes longer.
            _delete_user(server, 0)
            before = server.memory_bytes()
            log_size = self._postgres_log.stat().st_size
            started_at = monotonic()
            status = _delete_user(server, user_id)
            seconds = monotonic() - started_at
            growth = (server.memory_bytes() - before) / 2**20
        longest = self.longest_statement(log_size)
        return f"status {status} | {seconds:.1f} | {growth:+.0f} | {longest:.0f} |"

    def longest_statement(self, log_size: int) -> float:
        """Return the duration in milliseconds of the longest statement since the log had a size."""
        with self._postgres_log.open() as log_file:
            log_file.seek(log_size)
            return max(
                (float(duration) for duration in _DURATION.findall(log_file.read())), default=0
            )

    def put_unknown_objects(self) -> None:
        """Put objects without a row into the directory of the object store."""
        directory = self.directory / "store" / "s3" / BUCKET / "documents"
        directory.mkdir(parents=True, exist_ok=True)
        for _ in range(STORE_OBJECTS):
            (directory / str(uuid4())).write_bytes(b"")


def _delete_user(server: Server, user_id: int) -> int:
    """Send DELETE /users/{id}, and return the status of the response."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("DELETE", f"/users/{user_id}", headers={"Host": "localhost"})
    status = connection.getresponse().status
    connection.close()
    return status


async def execute(url: str, sql: str) -> None:
    """Execute statements without a timeout."""
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


async def insert_owner(url: str) -> int:
    """Insert a user who owns many documents, and return the id."""
    connection = await asyncpg.connect(url)
    owner_id: int = await connection.fetchval(INSERT_OWNER)
    await connection.execute(
        INSERT_OWNED_DOCUMENTS.format(documents=OWNED_DOCUMENTS, owner_id=owner_id)
    )
    await connection.close()
    return owner_id


def measure(bench: GrowthBench, rows: int) -> None:
    """Measure all jobs and a deletion, and print a row of the table for each."""
    print("| what | rows | outcome | s | peak MiB | longest statement ms |", flush=True)
    print("| --- | ---: | --- | ---: | ---: | ---: |", flush=True)
    for job in JOBS:
        print(f"| `{job.name}` | 0 | {bench.measure_job(job.name)}", flush=True)
    asyncio.run(execute(bench.url, "DELETE FROM user_counts"))
    asyncio.run(execute(bench.url, FILL_TABLES.format(rows=rows, store_objects=STORE_OBJECTS)))
    bench.put_unknown_objects()
    for job in JOBS:
        print(f"| `{job.name}` | {rows:,} | {bench.measure_job(job.name)}", flush=True)
    owner_id = asyncio.run(insert_owner(bench.url))
    result = bench.measure_user_deletion(owner_id)
    print(f"| DELETE a user | {OWNED_DOCUMENTS:,} documents | {result}", flush=True)


def main() -> None:
    """Parse the command line, and measure with a temporary database."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bookshelf-growth-") as directory_name:
        directory = Path(directory_name)
        settings = {"max_wal_size": "4GB", "log_min_duration_statement": "0"}
        with embedded.run_postgres(directory, settings) as server:
            schema.upgrade(sqlalchemy_url(server.url()))
            measure(GrowthBench(directory, server.url()), options.rows)


if __name__ == "__main__":
    main()
