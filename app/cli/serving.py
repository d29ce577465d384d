"""The commands that serve: the server, the worker, and what they need done before."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer
import uvicorn

from app import worker as work
from app.cli import start
from app.core.protocol import Protocol
from app.embedded.processes import with_us
from app.main import create_app
from app.settings import Settings

GRACE_PERIOD = 10  # seconds that requests in flight get when the server is told to stop


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
        start.metered(settings),
        start.parts(settings) as connected,
    ):
        if migrate or settings.database_url is None:
            start.upgrade(connected)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(connected),
                access_log=False,
                log_config=None,
                server_header=False,
                http=Protocol,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=[str(proxy) for proxy in settings.trusted_proxies],
                timeout_graceful_shutdown=GRACE_PERIOD,
            )
        )
        with _beside("worker", connected) if worker else nullcontext():
            # From here on nothing may be raised out of the blue: the event loop could swallow it.
            for number in work.STOPS:
                signal.signal(number, server.handle_exit)
            _announce(settings, listener)
            server.run(sockets=[listener])


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
    """Print the OpenAPI document as JSON."""
    document = create_app(start.settings()).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _ends_well() -> None:
    """To be stopped is how a server ends."""
    for number in work.STOPS:
        signal.signal(number, lambda *_: sys.exit(0))


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
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    given = {"DATABASE_URL": url, "S3_ENDPOINT_URL": settings.s3_endpoint_url or ""}
    given |= {"S3_BUCKET": settings.s3_bucket or "", "METRICS_PORT": "0"}  # the port is ours
    environment = {**os.environ, **given}
    program = [*with_us(), sys.executable, "-m", "app", command]
    process = subprocess.Popen(program, env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


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
