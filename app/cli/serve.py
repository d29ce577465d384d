"""The command `serve`: everything that has to be started before the server, and after it."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer

from app.cli import runtime
from app.cli.announcement import announce
from app.cli.child_processes import run_beside
from app.cli.server import prepare_server
from app.settings import Settings


def serve(
    *,
    migrate: Annotated[bool, typer.Option(help="First bring the schema up to date.")] = False,
    worker: Annotated[bool, typer.Option(help="Run the scheduled jobs beside it.")] = False,
) -> None:
    """Serve HTTP until Ctrl-C. Without DATABASE_URL and S3_BUCKET it starts its own of both."""
    runtime.exit_normally_on_signals()
    settings = runtime.load_settings()
    with (
        _listen(settings) as listener,
        runtime.with_metrics(settings, settings.web_concurrency),
        runtime.with_backends(settings) as connected,
    ):
        if migrate or settings.database_url is None:
            runtime.upgrade_schema(connected)
        run = prepare_server(connected, listener)
        with run_beside("worker", connected) if worker else nullcontext():
            announce(settings, listener)
            run()
    _exit_without_waiting_for_threads()


@contextmanager
def _listen(settings: Settings) -> Iterator[socket.socket]:
    """Open the server's socket, before anything is started that would have to be stopped again."""
    address = (settings.host, settings.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(address, family=family)
    except socket.gaierror:
        runtime.fail(f"there is no address {settings.host} to listen on: set HOST")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        runtime.fail(f"cannot listen on {settings.host}:{settings.port} ({reason}): set PORT")
    with listener:
        yield listener


def _exit_without_waiting_for_threads() -> None:
    """Exit now if a thread still waits for the store, which can take up to a minute."""
    other_threads = [
        thread for thread in threading.enumerate() if thread != threading.current_thread()
    ]
    for thread in other_threads:
        thread.join(0.1)
    if any(thread.is_alive() and not thread.daemon for thread in other_threads):
        logging.shutdown()
        os._exit(0)
