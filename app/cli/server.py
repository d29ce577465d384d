"""The HTTP server: uvicorn in this process, or in several that share one listening socket."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Final

from app.cli import runtime
from app.cli.child_processes import build_connection_environment
from app.cli.supervisor import Supervisor, SupervisorLink
from app.core.server import (
    GracefulProtocol,
    GracefulServer,
    UntrustedProxyWarning,
    create_cors_policy,
    exit_immediately,
)
from app.core.storage import load_client_library
from app.main import create_app
from app.settings import Settings
from app.worker import STOP_SIGNALS, run_worker

# The time that each thread has to end before the process exits without it.
THREAD_EXIT_TIMEOUT_SECONDS: Final = 0.1


def prepare_server(
    settings: Settings,
    listener: socket.socket,
    on_listening: Callable[[], None],
    *,
    closes_port: bool = True,
    worker: bool = False,
) -> Callable[[], None]:
    """Create the server. Return a function that runs it until the process receives a stop signal.

    With `closes_port`, no other process accepts connections on the socket afterwards.

    If WEB_CONCURRENCY is 1, this process handles the requests. Otherwise, it supervises several
    processes that handle them, and with `worker` another one that runs the scheduled jobs. The
    function calls `on_listening` when clients can connect.

    The preparation replaces the handlers of the stop signals. The caller has to call the returned
    function, because otherwise the process would ignore these signals.
    """
    if settings.web_concurrency == 1:
        return _prepare_one_process(settings, listener, on_listening, closes_port=closes_port)
    # The processes read their settings from the environment.
    os.environ.update(build_connection_environment(settings))
    targets = [run_server_process] * settings.web_concurrency
    if worker:
        targets.append(run_worker_process)
    _import_modules_of_processes()
    return Supervisor(targets, listener, on_listening).run


def _prepare_one_process(
    settings: Settings,
    listener: socket.socket,
    on_listening: Callable[[], None],
    *,
    closes_port: bool,
) -> Callable[[], None]:
    """Create a server in this process. Return the function that runs it."""
    server = _create_server(settings, is_last_user=lambda: closes_port)
    # Until now, the signals raise an exception, which the event loop could swallow.
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, server.handle_exit)

    def run_server() -> None:
        # Clients that connected earlier would wait for a migration, or be reset if it fails.
        listener.listen()
        on_listening()
        server.run(sockets=[listener])

    return run_server


def run_server_process(listener: socket.socket, link: SupervisorLink) -> None:
    """Run one of several server processes, until it receives SIGTERM or the supervisor stops.

    DB_POOL_SIZE is the number of connections of all processes together. Each process may open an
    equal part of them, and at least one.
    """
    settings = runtime.load_settings()
    pool_size_per_process = max(1, settings.db_pool_size // settings.web_concurrency)
    process_settings = settings.model_copy(update={"db_pool_size": pool_size_per_process})
    # A process that receives SIGTERM on its own leaves the socket to the others.
    server = _create_server(process_settings, is_last_user=link.is_closed)
    signal.signal(signal.SIGTERM, server.handle_exit)
    link.accept_stop_signal()
    server.run(sockets=[listener])
    exit_without_waiting_for_threads()


def run_worker_process(listener: socket.socket, link: SupervisorLink) -> None:
    """Run the scheduled jobs until the process receives SIGTERM or the supervisor stops."""
    listener.close()
    runtime.exit_normally_on_signals()
    link.accept_stop_signal()
    # The process that serves the metrics of the server also serves those of the jobs.
    asyncio.run(run_worker(runtime.load_settings()))


def _import_modules_of_processes() -> None:
    """Import what the processes of the server would import later, so that they share it."""
    load_client_library()
    for module in ("uvicorn.lifespan.on", "uvicorn.loops.auto"):
        import_module(module)


def exit_without_waiting_for_threads() -> None:
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
        exit_immediately()


def _create_server(settings: Settings, is_last_user: Callable[[], bool]) -> GracefulServer:
    """Create the application and its server. See `GracefulServer` for `is_last_user`."""
    proxy_warning = None
    if settings.app_env == "production":
        proxy_warning = UntrustedProxyWarning(settings.trusted_proxies)
    protocol_factory = partial(
        GracefulProtocol,
        cors_policy=create_cors_policy(settings.cors_origins),
        http_fast_path=settings.http_fast_path,
        proxy_warning=proxy_warning,
    )
    return GracefulServer(
        create_app(settings),
        is_last_user,
        access_log=False,
        log_config=None,
        server_header=False,
        # uvicorn only calls the class, so a function that creates its instances is enough.
        http=protocol_factory,
        ws="none",
        # The application has a middleware for the headers of proxies.
        proxy_headers=False,
    )
