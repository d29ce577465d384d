"""The command `worker`."""

import asyncio

from app.cli import runtime
from app.worker import run_worker


def worker() -> None:
    """Run the scheduled jobs at their times, until Ctrl-C."""
    runtime.exit_normally_on_signals()
    settings = runtime.load_settings()
    with runtime.with_metrics(settings), runtime.with_backends(settings) as connected:
        asyncio.run(run_worker(connected))
