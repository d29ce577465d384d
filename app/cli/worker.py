"""The command `worker`."""

import asyncio

from app.cli import runtime
from app.worker import run_worker


def worker() -> None:
    """Run the scheduled jobs when they are due, until Ctrl-C or SIGTERM."""
    runtime.exit_normally_on_signals()
    settings = runtime.load_settings()
    with (
        runtime.expose_metrics(settings),
        runtime.provide_database_and_object_store(settings) as complete_settings,
    ):
        asyncio.run(run_worker(complete_settings))
