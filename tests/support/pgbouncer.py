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
from typing import NamedTuple

import asyncpg
import pytest
from sqlalchemy.engine import URL, make_url

from app.embedded.errors import EmbeddedError
from app.embedded.postgresql import get_unprivileged_prefix
from app.embedded.processes import start_process, wait_until

# The number of connections from PgBouncer to each database. The number of clients is not limited.
SERVER_CONNECTIONS = 2
# Directories in which PgBouncer may be installed. Distributions use those for administrators, which
# the PATH of a user often does not contain.
_DIRECTORIES = (*os.get_exec_path(), "/usr/local/sbin", "/usr/sbin", "/opt/pgbouncer/bin")


class Program(NamedTuple):
    """An installed PgBouncer. Programs are compared by their versions."""

    version: tuple[int, ...]
    path: str


def _find_newest_program() -> Program | None:
    """Return the newest PgBouncer that is installed, or None."""
    paths = {shutil.which("pgbouncer", path=directory) for directory in _DIRECTORIES}
    programs = [Program(_read_version(path), path) for path in paths if path is not None]
    return max(programs, default=None)


def _read_version(path: str) -> tuple[int, ...]:
    """Return the version of a program that prints, for example, "PgBouncer 1.24.1"."""
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in output.splitlines()[0].split()[1].split("."))


PGBOUNCER = _find_newest_program()
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer is installed here")
# Older versions do not keep prepared statements in transaction mode.
needs_prepared_statements = pytest.mark.skipif(
    PGBOUNCER is None or PGBOUNCER.version < (1, 21), reason="no pgbouncer 1.21 is installed here"
)
# The value of DB_POOLER for a parametrized test.
PREPARED = pytest.param("transaction-prepared", marks=needs_prepared_statements)
ADMINISTRATOR = "administrator"
CONFIGURATION_FILE = "pgbouncer.ini"
# With server_round_robin each transaction uses the connection that has been idle longest, so that
# consecutive transactions use different connections. Clients need no password (auth_type), because
# other users cannot enter the directory of the socket.
CONFIGURATION = """\
[databases]
* = {server}

[pgbouncer]
unix_socket_dir = {directory}
listen_port = 5432
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
server_round_robin = 1
admin_users = {administrator}
{settings}
"""


class PgBouncer:
    """A running PgBouncer, which the test may restart."""

    def __init__(self, directory: Path) -> None:
        """Start PgBouncer with the configuration in a directory, which also has its socket."""
        self._directory = directory
        self.start()

    def start(self) -> None:
        """Start the process. Raises `EmbeddedError` if it does not accept connections."""
        assert PGBOUNCER
        log_file = self._directory / "pgbouncer.log"
        self._process = start_process(
            [*get_unprivileged_prefix(), PGBOUNCER.path, str(self._directory / CONFIGURATION_FILE)],
            log_file,
        )
        try:
            wait_until(self._accepts_connections, self._process, "PgBouncer did not start")
        except EmbeddedError as error:
            # The log file is deleted before a developer could read it.
            raise EmbeddedError(f"{error}: {log_file.read_text()}") from None

    def stop(self) -> None:
        """Kill the process, so that all connections are lost. SIGTERM would wait for clients."""
        self._process.kill()
        self._process.wait()

    def url(self, url: str) -> str:
        """Return the URL of the same database through PgBouncer."""
        database = make_url(url).database
        pooled = URL.create("postgresql", database=database, query={"host": str(self._directory)})
        return pooled.render_as_string()

    async def execute(self, command: str) -> None:
        """Execute a command of the administration console, for example "RECONNECT"."""
        connection = await asyncpg.connect(
            host=str(self._directory), user=ADMINISTRATOR, database="pgbouncer"
        )
        await connection.execute(command)
        await connection.close()

    def _accepts_connections(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self._directory / ".s.PGSQL.5432")) == 0


@contextmanager
def running_pgbouncer(server_url: str, **settings: str) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of a server until the block ends.

    `settings` are settings of PgBouncer. By default, it rejects startup parameters that it cannot
    pass on. `ignore_startup_parameters="statement_timeout"` makes it remove one.
    """
    with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory_name:
        directory = Path(directory_name).resolve()
        if os.geteuid() == 0:
            # PgBouncer does not run as root.
            os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
        configuration = CONFIGURATION.format(
            server=_connection_string(make_url(server_url)),
            directory=directory,
            connections=SERVER_CONNECTIONS,
            administrator=ADMINISTRATOR,
            settings="\n".join(f"{name} = {value}" for name, value in settings.items()),
        )
        (directory / CONFIGURATION_FILE).write_text(configuration)
        pgbouncer = PgBouncer(directory)
        try:
            yield pgbouncer
        finally:
            pgbouncer.stop()


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
