"""Measure how the scheduled jobs delete millions of expired rows.

Fills a new database with expired rows, and runs each job in a process of its own, as an operator
does. Prints a Markdown table with the duration of the job, the peak memory of its process and its
longest statement. `sweep-storage` is left out, because it sends a request to the object store for
each row.
"""

import argparse
import asyncio
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from app import embedded, schema
from app.embedded.postgresql import Postgres
from benchmarks.commands import run_command
from benchmarks.dataset import sqlalchemy_url
from benchmarks.servers import PROJECT_ROOT

ROWS: Final = 4_000_000
# Postgres writes the duration of each statement to its log.
LOG_ALL_STATEMENTS: Final = {"log_min_duration_statement": "0"}
DURATION: Final = re.compile(r"duration: ([0-9.]+) ms")


@dataclass(frozen=True)
class Sweep:
    """A job, and the statement that inserts `$1` expired rows for it.

    The statement spreads the rows over a day, because each request has a time of its own. Every
    other row is stored out of order, as if it had been updated since.
    """

    job_name: str
    insert_rows: str


SWEEPS: Final = (
    Sweep(
        "sweep-answers",
        """
        INSERT INTO stored_answers (id, fingerprint, status, headers, body, created_at)
        SELECT sha256(int8send(n)), sha256(int8send(-n)), 201,
            '{"content-type": "application/json", "location": "/authors/1", "etag": "1"}',
            convert_to(repeat(md5(n::text), 12), 'UTF8'),
            now() - interval '49 hours' + n * (interval '24 hours' / $1)
        FROM generate_series(1, $1::bigint) AS n
        """,
    ),
    Sweep(
        "sweep-tokens",
        """
        INSERT INTO tokens (id, user_id, name, digest, expires_at)
        SELECT gen_random_uuid(), (SELECT min(id) FROM users), 'login', sha256(int8send(n)),
            now() - interval '25 hours' + n * (interval '24 hours' / $1)
        FROM generate_series(1, $1::bigint) AS n
        """,
    ),
)
ADD_USER: Final = """
INSERT INTO users (name, email, password_hash) VALUES ('Ada', 'ada@example.com', 'none')
"""


def main() -> None:
    """Run the jobs that are named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="expired rows for each job")
    parser.add_argument(
        "--checkout", type=Path, default=PROJECT_ROOT, help="run the jobs of this checkout"
    )
    parser.add_argument("jobs", nargs="*", default=[sweep.job_name for sweep in SWEEPS])
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        # Postgres runs as another user if this process runs as root.
        Path(directory).chmod(0o755)
        with embedded.run_postgres(Path(directory), LOG_ALL_STATEMENTS) as postgres:
            schema.upgrade(sqlalchemy_url(postgres.url()))
            print("| job | seconds | peak memory, MiB | longest statement, ms | outcome |")
            print("| --- | ---: | ---: | ---: | --- |")
            for sweep in SWEEPS:
                if sweep.job_name in arguments.jobs:
                    asyncio.run(_insert_rows(postgres, sweep, arguments.rows))
                    print(_run_job(postgres, sweep.job_name, arguments.checkout), flush=True)


async def _insert_rows(postgres: Postgres, sweep: Sweep, number_of_rows: int) -> None:
    """Insert expired rows. The planner's statistics stay as they are, as during an attack."""
    connection = await asyncpg.connect(postgres.url())
    if await connection.fetchval("SELECT count(*) FROM users") == 0:
        await connection.execute(ADD_USER)
    await connection.execute(sweep.insert_rows, number_of_rows, timeout=None)
    await connection.execute("CHECKPOINT")
    await connection.close()


def _run_job(postgres: Postgres, job_name: str, checkout: Path) -> str:
    """Run a job in a process, and return its row of the table."""
    log_size_before = postgres.log_file.stat().st_size
    run = run_command(postgres.url(), "jobs", "run", job_name, checkout=checkout)
    with postgres.log_file.open() as log:
        log.seek(log_size_before)
        durations = [float(duration) for duration in DURATION.findall(log.read())]
    longest = max(durations, default=0.0)
    return (
        f"| `{job_name}` | {run.seconds:.1f} | {run.peak_memory_mib:.0f} | {longest:.0f}"
        f" | {run.last_line} |"
    )


if __name__ == "__main__":
    main()
