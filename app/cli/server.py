"""The HTTP server: uvicorn in this process, or in several that share a listening socket."""

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
from app.cli.child_processes import backend_environment
from app.core.server import HttpProtocol
from app.main import create_app
from app.settings import Settings
from app.worker import STOP_SIGNALS

# Requests in progress get this time when the server is told to stop. With the delay before it and
# the closing of connections after it, a shutdown takes ten seconds at most.
GRACE_PERIOD_SECONDS: Final = 6


def prepare_server(settings: Settings, listener: socket.socket) -> Callable[[], None]:
    """Return the function that serves until the process is told to stop.

    Everything that can fail has been done, and signals stop the server and nothing else.
    """
    if settings.web_concurrency == 1:
        return _prepare_one_process(settings, listener)
    return _prepare_several_processes(settings, listener)


def create_process_app() -> FastAPI:
    """Create the application of one of several processes, with its share of the connections."""
    settings = runtime.load_settings()
    share = max(1, settings.db_pool_size // settings.web_concurrency)
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        Thread(target=_stop_after, args=(supervisor,), daemon=True).start()
    return create_app(settings.model_copy(update={"db_pool_size": share}))


def _prepare_one_process(settings: Settings, listener: socket.socket) -> Callable[[], None]:
    server = uvicorn.Server(_config(create_app(settings), settings))
    # A signal must no longer raise an exception, because the event loop could swallow it.
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    return partial(server.run, sockets=[listener])


def _prepare_several_processes(settings: Settings, listener: socket.socket) -> Callable[[], None]:
    """Prepare a supervisor, which also replaces a process that dies."""
    os.environ.update(backend_environment(settings))
    factory = f"{__name__}:{create_process_app.__name__}"
    config = _config(factory, settings, factory=True, workers=settings.web_concurrency)
    supervisor = _Supervisor(config, [listener])
    # uvicorn restarts its processes on SIGHUP, but for us it is the end of the terminal.
    signal.signal(signal.SIGHUP, lambda *_: supervisor.signal_queue.append(signal.SIGTERM))
    return supervisor.run


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        # While this process holds the socket, the system accepts connections that nobody serves.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def _config(application: FastAPI | str, settings: Settings, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        access_log=False,
        log_config=None,
        server_header=False,
        http=HttpProtocol,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(proxy) for proxy in settings.trusted_proxies],
        timeout_graceful_shutdown=GRACE_PERIOD_SECONDS,
        **options,
    )


def _stop_after(supervisor: BaseProcess) -> None:
    """Stop this process once its supervisor has died, which may have been killed."""
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)
