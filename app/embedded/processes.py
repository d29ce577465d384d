"""Functions that both embedded servers need to start and stop their processes."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar

from app.embedded.errors import EmbeddedError
from app.embedded.private_files import open_private_file

START_TIMEOUT_SECONDS: Final = 30.0
POLL_INTERVAL_SECONDS: Final = 0.02
# The environment of the servers. Variables of the user, such as PGHOST, would change how they work.
CLEAN_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.defpath}
T = TypeVar("T")


def start_process(
    command: list[str],
    log_file: Path,
    environment: dict[str, str] | None = None,
    *,
    with_pipes: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process that appends its output to a log file.

    Its environment consists of PATH, LC_ALL and the variables in `environment`. Other users of the
    machine can read neither the log file nor the files that the process creates.

    With `with_pipes`, its standard input and output are pipes, and only its errors are logged.
    """
    with open(log_file, "ab", opener=open_private_file) as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if with_pipes else None,
            stdout=subprocess.PIPE if with_pipes else log,
            stderr=log,
            env=CLEAN_ENVIRONMENT | (environment or {}),
            # In a session of its own, the process does not receive the signal of a Ctrl-C in the
            # terminal. It is stopped by this process, which does receive the signal.
            start_new_session=True,
            umask=0o077,
        )


def wait_until(
    condition: Callable[[], T | None], process: subprocess.Popen[bytes] | None, error_message: str
) -> T:
    """Call `condition` again and again until it returns a true value, and return this value.

    Raises `EmbeddedError` if that takes longer than `START_TIMEOUT_SECONDS` or the process exits.

    Args:
        condition: Returns a false value while the server is still starting.
        process: The process of the server, or None if another process has started it.
        error_message: The message of the `EmbeddedError`.
    """
    deadline = monotonic() + START_TIMEOUT_SECONDS
    while not (result := condition()):
        has_exited = process is not None and process.poll() is not None
        if has_exited or monotonic() > deadline:
            raise EmbeddedError(error_message)
        sleep(POLL_INTERVAL_SECONDS)
    return result


def get_exit_with_parent_prefix() -> list[str]:
    """Return a prefix for a command, so that it exits when this process exits or is killed.

    For example `["/usr/bin/setpriv", "--pdeathsig=INT"]`: Linux sends SIGINT to the command when
    its parent process dies. On other systems, which lack setpriv, the prefix is empty.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, "--pdeathsig=INT"]
