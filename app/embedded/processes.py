"""What the embedded servers share: they start in their time, stay ours and die with us."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TypeVar

START_TIMEOUT: Final = 30.0  # seconds
CLEAN: Final = {"LC_ALL": "C", "PATH": os.defpath}  # an environment with no PGHOST or the like
T = TypeVar("T")


class EmbeddedError(Exception):
    """Why nothing could be started, in one sentence for a person."""


def launch(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        # The process gets a session of its own, so that Ctrl-C reaches only us and we stop it.
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=CLEAN | (environment or {}),
            start_new_session=True,
        )


def wait_until(
    answer: Callable[[], T | None], process: subprocess.Popen[bytes] | None, sentence: str
) -> T:
    """Return the first true result of `answer`.

    Raises `EmbeddedError` with the sentence when the time is up or the process is dead.
    """
    deadline = monotonic() + START_TIMEOUT
    while not (result := answer()):
        if monotonic() > deadline or (process is not None and process.poll() is not None):
            raise EmbeddedError(sentence)
        sleep(0.02)
    return result


def with_us() -> list[str]:
    """Return the prefix of a command that has to end when we are killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=INT"] if setpriv else []


def not_ours(path: Path) -> EmbeddedError:
    owner = path.stat().st_uid if path.exists() else "someone else"
    return EmbeddedError(
        f"{path} belongs to user {owner}: set DATA_DIR to a directory of your own."
    )
