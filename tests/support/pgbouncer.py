"""A real PgBouncer that pools transactions, before a server that the tests use."""

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

from app.embedded.postgresql import _unprivileged
from app.embedded.processes import EmbeddedError, launch, wait_until

SERVER_CONNECTIONS = 2  # to the server, for each of its databases; clients get as many as they like
# Where distributions put it, which is not always where a user's PATH looks.
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
# A transaction runs on the connection that has waited longest, so that the next one runs on the
# other. Nobody is asked who he is: the socket's directory is for us alone.
CONFIGURATION = """\
[databases]
* = {server}

[pgbouncer]
unix_socket_dir = {sockets}
listen_port = 5432
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
server_round_robin = 1
ignore_startup_parameters = {ignored}
"""


@contextmanager
def running_pgbouncer(server: str, ignored: str = "") -> Iterator[Path]:
    """The directory of its socket, until the block ends. `ignored` are startup parameters that
    it drops; any other that it cannot pass on it refuses, and the client with it."""
    assert PGBOUNCER
    with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory:
        sockets = Path(directory).resolve()
        if os.geteuid() == 0:
            os.chown(sockets, pwd.getpwnam("nobody").pw_uid, -1)
        configuration, log = sockets / "pgbouncer.ini", sockets / "pgbouncer.log"
        configuration.write_text(
            CONFIGURATION.format(
                server=_connection_string(make_url(server)),
                sockets=sockets,
                connections=SERVER_CONNECTIONS,
                ignored=ignored,
            )
        )
        process = launch([*_unprivileged(), PGBOUNCER, str(configuration)], log)
        try:
            _wait_until_ready(sockets, process, log)
            yield sockets
        finally:
            process.terminate()
            process.wait()


def pgbouncer_url(sockets: Path, url: str) -> str:
    """The same database, by way of the pooler."""
    pooled = URL.create("postgresql", database=make_url(url).database, query={"host": str(sockets)})
    return pooled.render_as_string()


def _connection_string(url: URL) -> str:
    """A server as PgBouncer's configuration names it."""
    given = {
        "host": url.query.get("host") or url.host,
        "port": url.port or 5432,
        "user": url.username,
        "password": url.password,
    }
    quoted = {name: str(value).replace("'", "''") for name, value in given.items() if value}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def _wait_until_ready(sockets: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        wait_until(lambda: _accepts_connections(sockets), process, "PgBouncer did not start")
    except EmbeddedError as error:  # the log is gone when somebody could look at it
        raise EmbeddedError(f"{error}: {log.read_text()}") from None


def _accepts_connections(sockets: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(sockets / ".s.PGSQL.5432")) == 0
