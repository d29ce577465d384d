"""A worker with two jobs that run every second.

Start it with `python -m tests.support.ticking_worker worker`. The job `write` inserts a row, and
then waits while a test holds the advisory lock `JOB_LOCK_KEY`. The job `fail` always raises an
error.
"""

import asyncio
import os
from datetime import timedelta
from typing import Final

from sqlalchemy import text

from app.core.jobs import Job
from app.core.observability import _logging as logging
from app.settings import Settings
from app.worker import JobContext, run_worker

JOB_LOCK_KEY: Final = 42
JOB_INTERVAL: Final = timedelta(seconds=1)

_INSERT_ROW = text("INSERT INTO work (process) VALUES (:process) RETURNING process")
_WAIT_FOR_LOCK = text("SELECT pg_advisory_xact_lock_shared(:key)")


async def _write(context: JobContext) -> str:
    """Insert a row with the process id, and wait until no test holds the lock."""
    await context.database.writes.execute(_INSERT_ROW, {"process": os.getpid()})
    await context.database.writes.execute(_WAIT_FOR_LOCK, {"key": JOB_LOCK_KEY})
    return "wrote a row"


async def _fail(_context: JobContext) -> str:
    raise RuntimeError("this always fails")


if __name__ == "__main__":
    logging.configure_logging("INFO")
    jobs = (Job("fail", JOB_INTERVAL, _fail), Job("write", JOB_INTERVAL, _write))
    asyncio.run(run_worker(Settings(_env_file=None), jobs))
