"""Functions that both embedded servers need to start and stop their processes."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar

START_TIMEOUT_SECONDS: Final = 30.0
POLL_INTERVAL_SECONDS: Final = 0.02
# The environment of the servers. Variables such as PGHOST would change what they do.
CLEAN_ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.defpath}
T = TypeVar("T")


class EmbeddedError(Exception):
    """Raised if an embedded server cannot be started. The message tells the user why."""


def start_process(
    command: list[str], log_file: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that appends its output to a log file.

    `environment` is added to an environment that contains little more than PATH.
    """
    with log_file.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=CLEAN_ENVIRONMENT | (environment or {}),
            # Ctrl-C is sent to all processes of a session. It has to reach only this process,
            # which then stops the new one.
            start_new_session=True,
        )


def wait_until(
    condition: Callable[[], T | None], process: subprocess.Popen[bytes] | None, error_message: str
) -> T:
    """Call `condition` until its result is true, and return this result.

    Raises `EmbeddedError` with the message if that takes longer than `START_TIMEOUT_SECONDS`, or if
    the process, if there is one, has exited.
    """
    deadline = monotonic() + START_TIMEOUT_SECONDS
    while not (result := condition()):
        has_exited = process is not None and process.poll() is not None
        if has_exited or monotonic() > deadline:
            raise EmbeddedError(error_message)
        sleep(POLL_INTERVAL_SECONDS)
    return result


def parent_death_prefix() -> list[str]:
    """Return a command prefix that stops the command when this process dies, even if it is killed.

    For example `["/usr/bin/setpriv", "--pdeathsig=INT"]`. Without setpriv, which only Linux has,
    the prefix is empty.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, "--pdeathsig=INT"]


def wrong_owner_error(path: Path) -> EmbeddedError:
    """Return the error for a file or directory that belongs to another user."""
    owner = "another user"
    if path.exists():
        owner = f"user {path.stat().st_uid}"
    return EmbeddedError(
        f"{path} belongs to {owner}. Set DATA_DIR to a directory that belongs to you."
    )
