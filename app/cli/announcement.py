"""The message that `serve` prints when it has started: address, backends and what to try."""

import shlex
import socket

import typer

from app import TITLE
from app.settings import Settings


def announce(settings: Settings, listener: socket.socket) -> None:
    """Print where the server listens, and which database and store it uses."""
    origin = _origin(listener)
    typer.echo(f"{TITLE} serves {origin} (Ctrl-C stops it)")
    typer.echo(f"  database  {_database(settings)}")
    typer.echo(f"  files     {_store(settings)}")
    typer.echo(f"  look at   {origin}/docs")
    typer.echo(f"  or try    curl {origin}/books")
    if settings.anonymous_access == "full":
        typer.echo(
            "  access    without a token everything: ANONYMOUS_ACCESS=read switches that off"
        )
    if settings.database_url is None:
        typer.echo(f"  fill it   {_make('seed', settings)}")
        typer.echo(f"  psql      {_make('psql', settings)}")


def _origin(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    is_ipv6 = ":" in host
    return f"http://[{host}]:{port}" if is_ipv6 else f"http://{host}:{port}"


def _database(settings: Settings) -> str:
    if settings.database_url is None:
        return f"a Postgres of its own, data in {settings.data_dir.resolve()}"
    return str(settings.sqlalchemy_url)


def _make(target: str, settings: Settings) -> str:
    """Return the command for another terminal, where DATA_DIR may not be set."""
    if settings.data_dir == Settings.model_fields["data_dir"].default:
        return f"make {target}"
    return f"DATA_DIR={shlex.quote(str(settings.data_dir.resolve()))} make {target}"


def _store(settings: Settings) -> str:
    if settings.s3_bucket is None:
        return f"an S3 server of its own, data in {settings.data_dir.resolve()}"
    return f"{settings.s3_bucket} at {settings.s3_endpoint_url or 'Amazon S3'}"
