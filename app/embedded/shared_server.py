"""One embedded server that several processes use, and that stops after the last of them.

`make run`, `make psql`, the reloaded processes of `uvicorn --reload`, and other processes use the
same server if they have the same DATA_DIR. The first process that needs it starts it.
"""

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from app.embedded import keeper
from app.embedded.private_files import open_private_file
from app.embedded.processes import start_process

# The time that a server continues to run after its last user, if its users are often restarted.
RELOAD_LINGER_SECONDS: Final = 10.0


class SharedServer:
    """The locks by which processes share a server, and the process that keeps the server running.

    These files lie next to the data of the server, for example `.data/postgres`:

        postgres.lock      locked while a process looks whether the server is running, and starts it
        postgres.users     locked in shared mode by each process that uses the server
        postgres.running   locked by the keeper of the server
    """

    def __init__(self, server_files: Path, linger_seconds: float) -> None:
        """Define a server.

        Args:
            server_files: The path of its files, without extension, for example `.data/postgres`.
            linger_seconds: How long the server continues to run after its last user.
        """
        self.log_file = server_files.with_suffix(".log")
        self._server_files = server_files
        self._linger_seconds = linger_seconds
        self._users_file: TextIO | None = None
        # The process that stops the server, if this object has started it.
        self.keeper: subprocess.Popen[bytes] | None = None

    def join(self, start: Callable[[], None]) -> None:
        """Register this process as a user of the server, and start the server if necessary.

        `start` calls `start_keeper` unless the server is running already. Only one process at a
        time is in this function.
        """
        with self._open(".lock") as lock_file:
            fcntl.flock(lock_file, fcntl.LOCK_EX)
            self._users_file = self._open(".users")
            # Waits while the server is being stopped.
            fcntl.flock(self._users_file, fcntl.LOCK_SH)
            start()

    def is_running(self) -> bool:
        """Return whether a keeper runs the server."""
        with self._open(".running") as running_file:
            try:
                fcntl.flock(running_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def start_keeper(
        self, command: list[str], environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the keeper with the command of the server. Return the process of the keeper."""
        program = [sys.executable, "-I", "-S", keeper.__file__]
        options = [str(self._server_files), str(self._linger_seconds)]
        self.keeper = start_process(
            [*program, *options, *command], self.log_file, environment, with_pipes=True
        )
        return self.keeper

    def leave(self) -> None:
        """Stop using the server.

        If this object has started it and nobody else uses it, return when the server has stopped,
        unless it lingers.
        """
        if self._users_file is not None:
            self._users_file.close()
            self._users_file = None
        if self.keeper is not None:
            _wait_for_keeper(self.keeper)
            self.keeper = None

    def _open(self, extension: str) -> TextIO:
        """Open one of the files for locks."""
        return open(self._server_files.with_suffix(extension), "w", opener=open_private_file)


def _wait_for_keeper(keeper_process: subprocess.Popen[bytes]) -> None:
    """Tell a keeper that this process does not use the server, and wait until it has reacted."""
    if keeper_process.stdin is None or keeper_process.stdout is None:
        raise TypeError("the input and output of a keeper are pipes")
    keeper_process.stdin.close()
    # The keeper closes its output when the server has stopped. If others use the server, it first
    # writes a word.
    continues_to_run = keeper_process.stdout.read() != b""
    keeper_process.stdout.close()
    if continues_to_run:
        # Otherwise, Python would warn that this process does not wait for the keeper.
        keeper_process.returncode = 0
    else:
        keeper_process.wait()
