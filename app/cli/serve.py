"""The command `serve`: starts the server, and before it everything that the server needs."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Annotated

import typer

from app.cli import runtime
from app.cli.announcement import announce
from app.cli.child_processes import freeze_memory, run_in_background, stop_with_parent_process
from app.cli.server import exit_without_waiting_for_threads, prepare_server
from app.settings import Settings

log = logging.getLogger(__name__)


def serve(
    *,
    migrate: Annotated[bool, typer.Option(help="Upgrade the database schema first.")] = False,
    worker: Annotated[bool, typer.Option(help="Also run the scheduled jobs.")] = False,
    reload: Annotated[
        bool,
        typer.Option(
            help="Restart the server when its code or .env changes, in one process. Does nothing"
            " in production."
        ),
    ] = False,
) -> None:
    """Serve HTTP until Ctrl-C or SIGTERM.

    Without DATABASE_URL, the command starts an embedded Postgres. Without S3_BUCKET, it starts an
    embedded S3 server.
    """
    runtime.exit_normally_on_signals()
    settings = runtime.load_settings()
    # The sockets come first, so that a port that is in use is reported immediately.
    if reload and _can_reload(settings):
        with _bind_socket(settings) as listener:
            _serve_with_reload(listener, settings, migrate=migrate, worker=worker)
    else:
        if settings.web_concurrency > 1:
            freeze_memory()
        # The process that serves metrics may be a fork, which must not keep the port open.
        with (
            runtime.expose_metrics(settings, settings.web_concurrency),
            _bind_socket(settings) as listener,
        ):
            _serve_on(listener, settings, migrate=migrate, worker=worker)
    exit_without_waiting_for_threads()


def _can_reload(settings: Settings) -> bool:
    """Return whether `--reload` is possible. Otherwise, log why it is not."""
    if settings.app_env == "production":
        log.warning("--reload does nothing in production")
        return False
    if find_spec("watchfiles") is None:
        log.warning("--reload does nothing, because the package watchfiles is not installed")
        return False
    return True


def _serve_on(
    listener: socket.socket,
    settings: Settings,
    *,
    migrate: bool,
    worker: bool,
    is_reloaded: bool = False,
    is_restart: bool = False,
) -> None:
    """Serve HTTP on a socket until the process receives a stop signal.

    Args:
        listener: The socket.
        settings: The settings of the server.
        migrate: Whether to upgrade the database schema first.
        worker: Whether to run the scheduled jobs too.
        is_reloaded: Whether another process continues to use the socket afterwards.
        is_restart: Whether to print only the first line of the announcement.
    """
    with (
        runtime.provide_database_and_object_store(settings) as complete_settings,
        ExitStack() as background_processes,
    ):
        database_is_embedded = settings.database_url is None
        if migrate or database_is_embedded:
            runtime.upgrade_schema(complete_settings)
        run_server = prepare_server(
            complete_settings,
            listener,
            partial(announce, settings, listener, only_url=is_restart),
            closes_port=not is_reloaded,
            worker=worker,
        )
        if worker and settings.web_concurrency == 1:
            background_processes.enter_context(run_in_background("worker", complete_settings))
        run_server()


def _serve_with_reload(
    listener: socket.socket, settings: Settings, *, migrate: bool, worker: bool
) -> None:
    """Run a server process that is replaced when a file changes. See `Reloader`."""
    # Imported lazily because `watchfiles` is not installed in production.
    from app.cli.reloader import Reloader  # noqa: PLC0415

    target = partial(
        serve_reloaded, migrate=migrate, worker=worker, address=(settings.host, settings.port)
    )
    with runtime.keep_embedded_servers(settings):
        Reloader(listener, target, partial(target, is_restart=True)).run()


def serve_reloaded(
    sockets: list[socket.socket] | None,
    *,
    migrate: bool,
    worker: bool,
    address: tuple[str, int],
    is_restart: bool = False,
) -> None:
    """Run a process of a server that is reloaded, with the settings as they are now.

    Args:
        sockets: The listening socket.
        migrate: Whether to upgrade the database schema.
        worker: Whether to run the scheduled jobs.
        address: The settings HOST and PORT from which the socket was created.
        is_restart: Whether the process replaces another one.
    """
    runtime.exit_normally_on_signals()
    # Otherwise, this process would keep the port and the embedded servers forever.
    stop_with_parent_process()
    settings = runtime.load_settings().model_copy(update={"web_concurrency": 1})
    if (settings.host, settings.port) != address:
        log.warning("HOST and PORT take effect when this command is started again")
    with runtime.expose_metrics(settings):
        for listener in sockets or []:
            _serve_on(
                listener,
                settings,
                migrate=migrate,
                worker=worker,
                is_reloaded=True,
                is_restart=is_restart,
            )
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
