"""The HTTP server: uvicorn in this process, or in several that share one listening socket."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from app.cli import runtime
from app.cli.child_processes import build_connection_environment
from app.core.server import HttpProtocol
from app.main import create_app
from app.settings import Settings
from app.worker import STOP_SIGNALS

# The time that requests in progress have to finish when the server is stopped. A delay comes before
# it, and closing connections after it, so that a shutdown takes up to ten seconds in total.
GRACE_PERIOD_SECONDS: Final = 6


def prepare_server(settings: Settings, listener: socket.socket) -> Callable[[], None]:
    """Create the server. Return a function that runs it until the process receives a stop signal.

    If WEB_CONCURRENCY is 1, this process handles the requests. Otherwise, it supervises several
    processes that handle them.

    The preparation replaces the handlers of the stop signals. The caller has to call the returned
    function, because otherwise the process would ignore these signals.
    """
    if settings.web_concurrency == 1:
        return _prepare_one_process(settings, listener)
    return _prepare_several_processes(settings, listener)


def create_server_process_app() -> FastAPI:
    """Create the application of a server process. uvicorn calls this in each of its processes.

    DB_POOL_SIZE is the number of connections of all processes together. Each process may open an
    equal part of them, and at least one.
    """
    settings = runtime.load_settings()
    pool_size_per_process = max(1, settings.db_pool_size // settings.web_concurrency)
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        # Without this thread, the process would continue to run if the supervisor were killed.
        Thread(target=_stop_after_supervisor, args=(supervisor,), daemon=True).start()
    return create_app(settings.model_copy(update={"db_pool_size": pool_size_per_process}))


def _prepare_one_process(settings: Settings, listener: socket.socket) -> Callable[[], None]:
    """Create a server in this process. Return the function that runs it."""
    server = uvicorn.Server(_create_uvicorn_config(create_app(settings), settings))
    # Until now, the signals raise an exception, which the event loop could swallow.
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, server.handle_exit)
    return partial(server.run, sockets=[listener])


def _prepare_several_processes(settings: Settings, listener: socket.socket) -> Callable[[], None]:
    """Create a supervisor, which starts server processes and replaces those that die.

    Returns the function that runs the supervisor.
    """
    # The server processes read their settings from the environment.
    os.environ.update(build_connection_environment(settings))
    app_factory = f"{__name__}:{create_server_process_app.__name__}"
    config = _create_uvicorn_config(
        app_factory, settings, factory=True, workers=settings.web_concurrency
    )
    supervisor = _SocketClosingSupervisor(config, [listener])
    # uvicorn would restart its processes on SIGHUP. Stop them instead, because the signal is sent
    # when the terminal is closed.
    signal.signal(signal.SIGHUP, lambda *_: supervisor.signal_queue.append(signal.SIGTERM))
    return supervisor.run


class _SocketClosingSupervisor(Multiprocess):
    """uvicorn's supervisor of server processes, which also closes its listening socket."""

    def terminate_all(self) -> None:
        """Close the listening socket, and then stop all server processes.

        While the socket is open in any process, the operating system accepts connections, although
        the stopped processes would never serve them.
        """
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _create_uvicorn_config(
    application: FastAPI | str, settings: Settings, **options: Any
) -> uvicorn.Config:
    """Return the configuration of uvicorn for an application.

    With several processes, `application` is the name of a function that creates the application in
    each of them, for example `"app.main:create_app"`.
    """
    return uvicorn.Config(
        application,
        access_log=False,
        log_config=None,
        server_header=False,
        http=HttpProtocol,
        ws="none",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(proxy) for proxy in settings.trusted_proxies],
        timeout_graceful_shutdown=GRACE_PERIOD_SECONDS,
        **options,
    )


def _stop_after_supervisor(supervisor: BaseProcess) -> None:
    """Wait until the supervisor has exited, and then stop this server process.

    This is necessary because a supervisor that is killed cannot stop its server processes.
    """
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
