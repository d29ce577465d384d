"""The commands that serve: the server, the worker, and what they need done before."""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from app import worker as work
from app.cli import start
from app.core.server import Protocol
from app.embedded.processes import with_us
from app.main import create_app
from app.settings import Settings

# Seconds that requests in flight get when the server is told to stop; with the last words before
# and the closing after them, ten at most.
GRACE_PERIOD = 6


def serve(
    *,
    migrate: Annotated[bool, typer.Option(help="First bring the schema up to date.")] = False,
    worker: Annotated[bool, typer.Option(help="Run the scheduled jobs beside it.")] = False,
) -> None:
    """Serve HTTP until Ctrl-C. Without DATABASE_URL and S3_BUCKET it starts its own of both."""
    _ends_well()
    settings = start.settings()
    with (
        _listening(settings) as listener,
        start.metered(settings, settings.web_concurrency),
        start.parts(settings) as connected,
    ):
        if migrate or settings.database_url is None:
            start.upgrade(connected)
        run = (_alone if connected.web_concurrency == 1 else _several)(connected, listener)
        with _beside("worker", connected) if worker else nullcontext():
            _announce(settings, listener)
            run()
    _leave()


def migrate(
    revision: Annotated[str, typer.Argument(help="The revision to upgrade to.")] = "head",
) -> None:
    """Bring the database's schema up to date."""
    settings = start.settings()
    with start.database(settings) as connected:
        start.upgrade(connected, revision)
        typer.echo(f"The schema is at {revision}.")


def worker() -> None:
    """Run the scheduled jobs at their times, until Ctrl-C."""
    _ends_well()
    settings = start.settings()
    with start.metered(settings), start.parts(settings) as connected:
        asyncio.run(work.work(connected))


def openapi() -> None:
    """Print the OpenAPI document as JSON, as it is with these settings."""
    document = create_app(start.settings()).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _ends_well() -> None:
    """To be stopped is how a server ends."""
    for number in work.STOPS:
        signal.signal(number, lambda *_: sys.exit(0))


def from_environment() -> FastAPI:
    """The application of one of several processes, with its share of the connections."""
    given = start.settings()
    share = max(1, given.db_pool_size // given.web_concurrency)
    if parent := multiprocessing.parent_process():
        Thread(target=_end_after, args=(parent,), daemon=True).start()
    return create_app(given.model_copy(update={"db_pool_size": share}))


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _alone(connected: Settings, listener: socket.socket) -> Callable[[], None]:
    """What serves, in this process."""
    server = uvicorn.Server(_config(create_app(connected), connected))
    # From here on nothing may be raised out of the blue: the event loop could swallow it.
    for number in work.STOPS:
        signal.signal(number, server.handle_exit)
    return partial(server.run, sockets=[listener])


def _several(connected: Settings, listener: socket.socket) -> Callable[[], None]:
    """What has processes of their own serve, and starts another one for one that dies."""
    os.environ.update(_environment(connected))
    factory = f"{__name__}:{from_environment.__name__}"
    config = _config(factory, connected, factory=True, workers=connected.web_concurrency)
    supervisor = _Supervisor(config, [listener])
    # It takes the end of the terminal for a wish to start anew.
    signal.signal(signal.SIGHUP, lambda *_: supervisor.signal_queue.append(signal.SIGTERM))
    return supervisor.run


class _Supervisor(Multiprocess):
    def terminate_all(self) -> None:
        for listener in self.sockets:  # else who comes now would wait for nobody
            listener.close()
        super().terminate_all()


def _config(application: FastAPI | str, settings: Settings, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        access_log=False,
        log_config=None,
        server_header=False,
        http=Protocol,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(proxy) for proxy in settings.trusted_proxies],
        timeout_graceful_shutdown=GRACE_PERIOD,
        **options,
    )


def _leave() -> None:
    """End at once, though a thread may wait for a store that is silent: for up to a minute."""
    others = [t for t in threading.enumerate() if t is not threading.current_thread()]
    for thread in others:
        thread.join(0.1)
    if any(thread.is_alive() and not thread.daemon for thread in others):
        logging.shutdown()
        os._exit(0)


@contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The server's socket, taken before anything is started for it."""
    address = (settings.host, settings.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(address, family=family)
    except socket.gaierror:
        start.fail(f"there is no address {settings.host} to listen on: set HOST")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        start.fail(f"cannot listen on {settings.host}:{settings.port} ({reason}): set PORT")
    with listener:
        yield listener


@contextmanager
def _beside(command: str, settings: Settings) -> Iterator[None]:
    """Another process of ours, with the same database and store, until the block ends."""
    environment = {**os.environ, **_environment(settings), "METRICS_PORT": "0"}  # it is ours
    program = [*with_us(), sys.executable, "-m", "app", command]
    process = subprocess.Popen(program, env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """What tells another process of ours of the database and the store."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    store = {"S3_ENDPOINT_URL": settings.s3_endpoint_url, "S3_BUCKET": settings.s3_bucket}
    return {"DATABASE_URL": url, **{name: value or "" for name, value in store.items()}}


def _announce(settings: Settings, listener: socket.socket) -> None:
    """What was started, where the data lies and what to try."""
    host, port = listener.getsockname()[:2]
    origin = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    kept = f"of its own, data in {settings.data_dir.resolve()}"
    database, store = f"a Postgres {kept}", f"an S3 server {kept}"
    if settings.database_url is not None:
        database = str(settings.sqlalchemy_url)
    if settings.s3_bucket is not None:
        store = f"{settings.s3_bucket} at {settings.s3_endpoint_url or 'Amazon S3'}"
    typer.echo(f"Bookshelf serves {origin} (Ctrl-C stops it)")
    typer.echo(f"  database  {database}")
    typer.echo(f"  files     {store}")
    typer.echo(f"  look at   {origin}/docs")
    typer.echo(f"  or try    curl {origin}/books")
    if settings.anonymous_access == "full":
        typer.echo(
            "  access    without a token everything: ANONYMOUS_ACCESS=read switches that off"
        )
    if settings.database_url is None:
        typer.echo("  fill it   make seed")
