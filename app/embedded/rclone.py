"""An S3 server that keeps its objects as plain files: rclone, from a wheel."""

import fcntl
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from app import NAME
from app.embedded.processes import EmbeddedError, launch, not_ours, wait_until, with_us

BUCKET: Final = NAME
KEY_ID: Final = NAME


@dataclass(frozen=True)
class Store:
    """A server that has `BUCKET`, and the key that opens it."""

    endpoint: str
    secret: str

    def environment(self) -> dict[str, str]:
        """Where boto3 looks first for credentials."""
        return {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": self.secret}


@contextmanager
def s3(data_dir: Path) -> Iterator[Store]:
    """A running server with its objects under `data_dir`, until the block ends.

    Where another process runs one there already, that one: it holds a lock for as long.
    """
    _binary()  # where there is none, nothing is made
    home = data_dir.resolve() / "s3"
    try:
        (home / BUCKET).mkdir(parents=True, exist_ok=True)
        lock = home.with_suffix(".lock").open("w")
    except PermissionError as error:
        raise not_ours(Path(error.filename)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _announced(home)
        else:
            with _started(home) as store:
                yield store


@contextmanager
def _started(home: Path) -> Iterator[Store]:
    home.with_suffix(".json").unlink(missing_ok=True)
    for leftover in home.rglob(".rclone_temp_multipart_*"):  # its uploads end with the server
        leftover.unlink()
    log, secret = home.with_suffix(".log"), secrets.token_hex(16)
    log.write_bytes(b"")
    server = [_binary(), "serve", "s3", "--addr=127.0.0.1:0", "--config=", str(home)]
    # Not among the arguments, which every user of the machine can read.
    environment = {"RCLONE_AUTH_KEY": f'"{KEY_ID},{secret}"'}
    process = launch([*with_us(), *server], log, environment)
    try:
        match = wait_until(
            lambda: re.search(r"s3 server on \[(http://.+?)/\]", log.read_text()),
            process,
            f"The S3 server did not start; {log} says why.",
        )
        store = Store(match[1], secret)
        _announce(home, store)
        yield store
    finally:
        process.terminate()
        process.wait()


def _announce(home: Path, store: Store) -> None:
    draft = home.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(store)))
    draft.replace(home.with_suffix(".json"))


def _announced(home: Path) -> Store:
    """The server that another process runs, once that has started it."""
    place = home.with_suffix(".json")
    wait_until(place.exists, None, f"The process that serves {home} does not get ahead.")
    return Store(**json.loads(place.read_text()))


def _binary() -> str:
    binary = Path(sys.executable).parent / "rclone"
    if not os.access(binary, os.X_OK):
        raise EmbeddedError("No S3 server is installed here: run make, or set S3_BUCKET.")
    return str(binary)
