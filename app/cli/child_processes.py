"""Starts other processes of this service, and ends them with the process that has started them."""

import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import app
from app.embedded.processes import get_exit_with_parent_prefix
from app.settings import Settings

# The signals that stop a process, and that a terminal sends to all processes.
BLOCKED_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def get_process_context() -> ForkContext | SpawnContext:
    """Return the way in which `start_process` starts processes.

    On Linux, they are forks of this process, which must have no other threads. The libraries of
    macOS do not support that, so each process imports everything there.
    """
    can_fork = sys.platform == "linux"
    if can_fork:
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")


def freeze_memory() -> None:
    """Keep the garbage collector away from the objects that exist, so that forks share them.

    Otherwise, the garbage collector of each process would write to them.
    """
    gc.collect()
    gc.freeze()


def start_process(
    context: ForkContext | SpawnContext, target: Callable[..., None], *arguments: Any
) -> BaseProcess:
    """Start a process that runs a function, and that receives none of the stop signals.

    A terminal sends some of these signals to all processes, but this process stops the new one. The
    new process may unblock SIGTERM when it has a handler for it. Until then, the signal waits.

    The function and its arguments have to be importable, because they may be pickled.
    """
    process: BaseProcess = context.Process(target=_run_target, args=(target, *arguments))
    # The new process inherits the signals that are blocked. Signals that arrive at this process
    # meanwhile are delivered when they are no longer blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)
    return process


def _run_target(target: Callable[..., None], *arguments: Any) -> None:
    """Run the function of a process, and then write the log lines that wait."""
    try:
        target(*arguments)
    finally:
        # A forked process does not run functions of `atexit`, of which this is one.
        logging.shutdown()


@contextmanager
def run_in_background(command: str, settings: Settings) -> Iterator[None]:
    """Run `python -m app COMMAND` in another process until the block ends.

    The process uses the database and the object store of `settings`. It also exits when this
    process is killed.
    """
    # Both processes would use the same port for metrics. Port 0 turns them off in the new one.
    environment = {**os.environ, **build_connection_environment(settings), "METRICS_PORT": "0"}
    # With -P, Python does not import a directory `app` of another project, from which this process
    # may have been started. It then finds this package, even if it is not installed, by PYTHONPATH.
    import_paths = [str(Path(app.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, import_paths))
    program = [*get_exit_with_parent_prefix(), sys.executable, "-P", "-m", "app", command]
    process = subprocess.Popen(program, env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def build_connection_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that name the database and the object store of `settings`.

    Another process that gets these variables uses the same database and object store, even if they
    are embedded servers, whose addresses are not in the environment of this process. It also has
    the same ANONYMOUS_ACCESS, whose default depends on whether the database is embedded.
    """
    database_url = ""
    if settings.database_url is not None:
        database_url = settings.database_url.get_secret_value()
    return {
        "ANONYMOUS_ACCESS": settings.anonymous_access_level,
        "DATABASE_URL": database_url,
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        "S3_BUCKET": settings.s3_bucket or "",
    }


def stop_with_parent_process() -> None:
    """Start a thread that sends SIGTERM to this process if its parent process is killed.

    The parent must have started this process with `multiprocessing`.
    """
    threading.Thread(target=_wait_for_parent_and_stop, daemon=True).start()


def _wait_for_parent_and_stop() -> None:
    """Wait for the end of the parent process, and then stop this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
