"""The command `serve`: starts the server, and before it everything that the server needs."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Final

import typer

from app.cli import runtime
from app.cli.announcement import announce
from app.cli.child_processes import run_in_background
from app.cli.server import prepare_server
from app.settings import Settings

# The time that each thread has to end before the process exits without it.
THREAD_EXIT_TIMEOUT_SECONDS: Final = 0.1


def serve(
    *,
    migrate: Annotated[bool, typer.Option(help="Upgrade the database schema first.")] = False,
    worker: Annotated[bool, typer.Option(help="Also run the scheduled jobs.")] = False,
) -> None:
    """Serve HTTP until Ctrl-C or SIGTERM.

    Without DATABASE_URL, the command starts an embedded Postgres. Without S3_BUCKET, it starts an
    embedded S3 server.
    """
    runtime.exit_normally_on_signals()
    settings = runtime.load_settings()
    with (
        # The socket comes first, so that a port that is in use is reported immediately.
        _open_listening_socket(settings) as listener,
        runtime.expose_metrics(settings, settings.web_concurrency),
        runtime.provide_database_and_object_store(settings) as complete_settings,
        ExitStack() as background_processes,
    ):
        database_is_embedded = settings.database_url is None
        if migrate or database_is_embedded:
            runtime.upgrade_schema(complete_settings)
        run_server = prepare_server(complete_settings, listener)
        if worker:
            background_processes.enter_context(run_in_background("worker", complete_settings))
        announce(settings, listener)
        run_server()
    _exit_without_waiting_for_threads()


@contextmanager
def _open_listening_socket(settings: Settings) -> Iterator[socket.socket]:
    """Open the socket on which the server accepts connections. Close it when the block ends.

    Ends the command if the address (HOST and PORT) is unknown or in use.
    """
    address = (settings.host, settings.port)
    try:
        # A name such as localhost may have IPv4 and IPv6 addresses. The first one is used.
        first_address, *_ = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        address_family, *_ = first_address
        listener = socket.create_server(address, family=address_family)
    except socket.gaierror:
        runtime.fail(f"cannot listen on {settings.host}, which is not a known address: set HOST")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        runtime.fail(f"cannot listen on {settings.host}:{settings.port} ({reason}): set PORT")
    with listener:
        yield listener


def _exit_without_waiting_for_threads() -> None:
    """Exit the process immediately if a thread is still running after a short wait.

    A thread may be waiting for a response of the object store for up to a minute. Python would wait
    for this thread before it exits.
    """
    other_threads = [
        thread for thread in threading.enumerate() if thread != threading.current_thread()
    ]
    for thread in other_threads:
        thread.join(THREAD_EXIT_TIMEOUT_SECONDS)
    if any(thread.is_alive() and not thread.daemon for thread in other_threads):
        # os._exit skips the cleanup of a normal exit, so flush the log here.
        logging.shutdown()
        os._exit(0)
