"""A worker with two jobs that are due every second.

Start it with `python -m tests.support.ticking_worker worker`.

One writes a row, and is held up while a test has the lock `JOB_LOCK_KEY`; the other always fails.
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

JOB_LOCK_KEY: Final = 42  # the key of an advisory lock
JOB_INTERVAL: Final = timedelta(seconds=1)

_WRITE = text("INSERT INTO work (process) VALUES (:process) RETURNING process")
_PASS = text("SELECT pg_advisory_xact_lock_shared(:key)")


async def _write(context: JobContext) -> str:
    await context.database.writes.execute(_WRITE, {"process": os.getpid()})
    await context.database.writes.execute(_PASS, {"key": JOB_LOCK_KEY})
    return "wrote a row"


async def _fail(_parts: JobContext) -> str:
    raise RuntimeError("this always fails")


if __name__ == "__main__":
    logging.configure_logging("INFO")
    jobs = (Job("fail", JOB_INTERVAL, _fail), Job("write", JOB_INTERVAL, _write))
    asyncio.run(run_worker(Settings(_env_file=None), jobs))
