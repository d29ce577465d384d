"""A worker with two jobs that are due every second.

Start it with `python -m tests.support.ticking_worker worker`.

One writes a row, and is held up while a test has the lock `MIDDLE`; the other always fails.
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

MIDDLE: Final = 42  # the key of an advisory lock
SECOND: Final = timedelta(seconds=1)

_WRITE = text("INSERT INTO work (process) VALUES (:process) RETURNING process")
_PASS = text("SELECT pg_advisory_xact_lock_shared(:key)")


async def _write(context: JobContext) -> str:
    await context.database.writes.execute(_WRITE, {"process": os.getpid()})
    await context.database.writes.execute(_PASS, {"key": MIDDLE})
    return "wrote a row"


async def _fail(_parts: JobContext) -> str:
    raise RuntimeError("this always fails")


if __name__ == "__main__":
    logging.configure_logging("INFO")
    jobs = (Job("fail", SECOND, _fail), Job("write", SECOND, _write))
    asyncio.run(run_worker(Settings(_env_file=None), jobs))
