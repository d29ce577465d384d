"""The message that the command `serve` prints after startup: addresses and first commands."""

import os
import shlex
import socket

import typer

from app import TITLE
from app.settings import Settings


def announce(settings: Settings, listener: socket.socket, *, only_url: bool = False) -> None:
    """Print the server's URL, the database and the object store it uses, and commands to try.

    With `only_url`, print the first line, because a restarted server has printed the others.
    """
    server_url = _build_server_url(listener)
    # The tests and tools that start a server read its URL from the first line.
    typer.echo(f"{TITLE} serves {server_url} (press Ctrl-C to stop)")
    if only_url:
        return
    typer.echo(f"  database  {_describe_database(settings)}")
    typer.echo(f"  files     {_describe_object_store(settings)}")
    typer.echo(f"  docs      {server_url}/docs")
    typer.echo(f"  try       curl {server_url}/books")
    if settings.anonymous_access_level == "full":
        typer.echo(
            "  access    everyone may read and write; set ANONYMOUS_ACCESS=read to require tokens"
        )
    elif settings.app_env == "development":
        typer.echo(
            "  access    writes need a token; set ANONYMOUS_ACCESS=full to let everyone write"
        )
    if settings.database_url is None:
        typer.echo(f"  add data  {_build_make_command('seed', settings)}")
        typer.echo(f"  psql      {_build_make_command('psql', settings)}")


def _build_server_url(listener: socket.socket) -> str:
    """Return the URL of a server, such as `http://127.0.0.1:8000` or `http://[::1]:8000`."""
    # The address of an IPv6 socket has two further elements.
    address, port, *_ = listener.getsockname()
    # A server that listens on all addresses of a machine is reached on the machine as localhost.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    is_ipv6 = ":" in host
    if is_ipv6:
        return f"http://[{host}]:{port}"
    return f"http://{host}:{port}"


def _describe_database(settings: Settings) -> str:
    if settings.database_url is None:
        return f"embedded Postgres, data in {settings.data_dir.resolve()}"
    return str(settings.sqlalchemy_url)


def _describe_object_store(settings: Settings) -> str:
    if settings.s3_bucket is None:
        return f"embedded S3 server, data in {settings.data_dir.resolve()}"
    return f"bucket {settings.s3_bucket} at {settings.s3_endpoint_url or _describe_endpoint()}"


def _describe_endpoint() -> str:
    """Describe the store that boto3 uses without S3_ENDPOINT_URL. Its URL may be confidential."""
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if os.environ.get(variable):
            return f"the URL in {variable}"
    return "Amazon S3"


def _build_make_command(target: str, settings: Settings) -> str:
    """Return a command such as `make psql` that uses the database of this server.

    If this server does not use the default data directory, the command sets it, as in
    `DATA_DIR=/data make psql`. The terminal in which the user enters the command may not have the
    environment of this server.
    """
    if settings.data_dir == Settings.model_fields["data_dir"].default:
        return f"make {target}"
    return f"DATA_DIR={shlex.quote(str(settings.data_dir.resolve()))} make {target}"
