"""The command `serve`: starts the server, and before it everything that the server needs."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Annotated

import typer

from app.cli import runtime
from app.cli.announcement import announce
from app.cli.child_processes import run_in_background
from app.cli.server import exit_without_waiting_for_threads, prepare_server
from app.settings import Settings


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
        _bind_socket(settings) as listener,
        runtime.expose_metrics(settings, settings.web_concurrency),
        runtime.provide_database_and_object_store(settings) as complete_settings,
        ExitStack() as background_processes,
    ):
        database_is_embedded = settings.database_url is None
        if migrate or database_is_embedded:
            runtime.upgrade_schema(complete_settings)
        run_server = prepare_server(
            complete_settings, listener, partial(announce, settings, listener)
        )
        if worker:
            background_processes.enter_context(run_in_background("worker", complete_settings))
        run_server()
    exit_without_waiting_for_threads()


@contextmanager
def _bind_socket(settings: Settings) -> Iterator[socket.socket]:
    """Reserve the address (HOST and PORT) of the server. Close the socket when the block ends.

    Nobody can connect before the server listens on the socket. Ends the command if the address is
    unknown or in use.
    """
    try:
        # A name such as localhost may have IPv4 and IPv6 addresses. The first one is used.
        first_address, *_ = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )
        address_family, _, _, _, address = first_address
        listener = socket.socket(address_family, socket.SOCK_STREAM)
        # Closed connections of an earlier server do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address_family == socket.AF_INET6:
            # Without the option, the system decides whether `::` also receives IPv4 connections.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except socket.gaierror:
        runtime.fail(f"cannot listen on {settings.host}, which is not a known address: set HOST")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        runtime.fail(f"cannot listen on {settings.host}:{settings.port} ({reason}): set PORT")
    with listener:
        yield listener
