"""Runs PgBouncer in transaction mode in front of the Postgres server of the tests."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from app.embedded.errors import EmbeddedError
from app.embedded.postgresql import get_unprivileged_prefix
from app.embedded.processes import start_process, wait_until

# The number of connections from PgBouncer to each database. The number of clients is not limited.
SERVER_CONNECTIONS = 2
_SYSTEM_PATH = "/usr/sbin:/usr/local/sbin"
# The path of the program, or None. Distributions install it in directories for administrators,
# which the PATH of a user often does not contain.
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path=_SYSTEM_PATH)
# With server_round_robin each transaction uses the connection that has been idle longest, so that
# consecutive transactions use different connections. Clients need no password (auth_type), because
# other users cannot enter the directory of the socket.
CONFIGURATION = """\
[databases]
* = {server}

[pgbouncer]
unix_socket_dir = {socket_directory}
listen_port = 5432
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
server_round_robin = 1
ignore_startup_parameters = {ignored_parameters}
"""


@contextmanager
def running_pgbouncer(server_url: str, ignored_parameters: str = "") -> Iterator[Path]:
    """Run PgBouncer in front of a server, and yield the directory of its Unix socket.

    `ignored_parameters` is a list such as "extra_float_digits,options". PgBouncer removes these
    startup parameters, and rejects clients that send any other that it cannot pass on.
    """
    assert PGBOUNCER
    with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory:
        socket_directory = Path(directory).resolve()
        if os.geteuid() == 0:
            # PgBouncer does not run as root.
            os.chown(socket_directory, pwd.getpwnam("nobody").pw_uid, -1)
        configuration_file = socket_directory / "pgbouncer.ini"
        log_file = socket_directory / "pgbouncer.log"
        configuration_file.write_text(
            CONFIGURATION.format(
                server=_connection_string(make_url(server_url)),
                socket_directory=socket_directory,
                connections=SERVER_CONNECTIONS,
                ignored_parameters=ignored_parameters,
            )
        )
        process = start_process(
            [*get_unprivileged_prefix(), PGBOUNCER, str(configuration_file)], log_file
        )
        try:
            _wait_until_ready(socket_directory, process, log_file)
            yield socket_directory
        finally:
            process.terminate()
            process.wait()


def pgbouncer_url(socket_directory: Path, url: str) -> str:
    """Return the URL of the same database through PgBouncer."""
    database = make_url(url).database
    pooled = URL.create("postgresql", database=database, query={"host": str(socket_directory)})
    return pooled.render_as_string()


def _connection_string(url: URL) -> str:
    """Return the address of a server for PgBouncer: `host='127.0.0.1' port='5432' user='ada'`."""
    values = {
        "host": url.query.get("host") or url.host,
        "port": url.port or 5432,
        "user": url.username,
        "password": url.password,
    }
    escaped = {name: str(value).replace("'", "''") for name, value in values.items() if value}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items())


def _wait_until_ready(
    socket_directory: Path, process: subprocess.Popen[bytes], log_file: Path
) -> None:
    """Return when PgBouncer accepts connections. Raises `EmbeddedError` if it does not start."""
    try:
        wait_until(
            lambda: _accepts_connections(socket_directory), process, "PgBouncer did not start"
        )
    except EmbeddedError as error:
        # The log file is deleted before a developer could read it.
        raise EmbeddedError(f"{error}: {log_file.read_text()}") from None


def _accepts_connections(socket_directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(socket_directory / ".s.PGSQL.5432")) == 0
