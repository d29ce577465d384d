"""Runs the S3 server of rclone, which stores objects as plain files."""

import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TextIO

from app import NAME
from app.embedded.errors import EmbeddedError, create_wrong_owner_error
from app.embedded.private_files import (
    open_private_file,
    prepare_data_dir,
    prepare_private_directory,
)
from app.embedded.processes import get_exit_with_parent_prefix, start_process, wait_until

BUCKET: Final = NAME
ACCESS_KEY_ID: Final = NAME


@dataclass(frozen=True)
class S3Server:
    """The address and the credentials of a running S3 server.

    The access key id and the name of the only bucket are always `ACCESS_KEY_ID` and `BUCKET`.
    """

    endpoint: str  # for example http://127.0.0.1:41234
    secret_access_key: str

    def credential_variables(self) -> dict[str, str]:
        """Return the credentials as the environment variables that boto3 reads."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}


@contextmanager
def run_s3_server(data_dir: Path) -> Iterator[S3Server]:
    """Run an S3 server that stores its objects in `data_dir/s3`, until the block ends.

    If another process already runs a server with this directory, yields that server, which then
    keeps running. Raises `EmbeddedError` if the server cannot be started.
    """
    # Raise an error if rclone is not installed, before any directory is created.
    _get_rclone_path()
    objects_dir = data_dir.resolve() / "s3"
    # The process that runs the server holds the lock until the server has stopped.
    with _open_lock_file(objects_dir) as lock_file:
        if _try_lock(lock_file):
            with _start_server(objects_dir) as server:
                yield server
        else:
            yield _wait_for_server_of_another_process(objects_dir)


def _open_lock_file(objects_dir: Path) -> TextIO:
    """Create the directories that do not exist yet, and open the file that a server locks."""
    try:
        prepare_data_dir(objects_dir.parent)
        prepare_private_directory(objects_dir, os.geteuid())
        prepare_private_directory(objects_dir / BUCKET, os.geteuid())
        return open(objects_dir.with_suffix(".lock"), "w", opener=open_private_file)
    except PermissionError as error:
        raise create_wrong_owner_error(Path(error.filename)) from None


def _try_lock(lock_file: TextIO) -> bool:
    """Lock an open file until it is closed. Return False if another process has locked it."""
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _start_server(objects_dir: Path) -> Iterator[S3Server]:
    """Start a server and wait until it accepts requests. Stop it when the block ends."""
    # The file of an earlier server would tell other processes a wrong address and key.
    _get_server_file(objects_dir).unlink(missing_ok=True)
    _delete_unfinished_uploads(objects_dir)
    secret_access_key = secrets.token_hex(16)
    log_file = objects_dir.with_suffix(".log")
    process = _start_rclone(objects_dir, secret_access_key, log_file)
    try:
        endpoint = _wait_for_endpoint(process, log_file)
        server = S3Server(endpoint, secret_access_key)
        _write_server_file(objects_dir, server)
        yield server
    finally:
        process.terminate()
        process.wait()


def _delete_unfinished_uploads(objects_dir: Path) -> None:
    """Delete the files of multipart uploads that a stopped server has left behind.

    A new server would not know these uploads, so that they could never be completed.
    """
    for part_file in objects_dir.rglob(".rclone_temp_multipart_*"):
        part_file.unlink()


def _start_rclone(
    objects_dir: Path, secret_access_key: str, log_file: Path
) -> subprocess.Popen[bytes]:
    """Start rclone as an S3 server on any free port. It writes its address to an empty log."""
    log_file.unlink(missing_ok=True)
    command = [
        _get_rclone_path(),
        "serve",
        "s3",
        "--addr=127.0.0.1:0",
        "--config=",
        # Pages of any origin may send the parts of a file to signed URLs. This opens nothing else:
        # the store refuses requests without a signature, and browsers have no credentials for it.
        "--allow-origin=*",
        str(objects_dir),
    ]
    # The key is not an argument, because all users of the machine can see arguments.
    environment = {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY_ID},{secret_access_key}"'}
    return start_process([*get_exit_with_parent_prefix(), *command], log_file, environment)


def _wait_for_endpoint(process: subprocess.Popen[bytes], log_file: Path) -> str:
    """Wait until rclone logs its address, such as `http://127.0.0.1:41234`, and return it."""
    # The line is "... s3 server on [http://127.0.0.1:41234/]".
    address_match = wait_until(
        lambda: re.search(r"s3 server on \[(http://.+?)/\]", log_file.read_text()),
        process,
        f"The S3 server did not start. See {log_file} for the reason.",
    )
    return address_match[1]


def _get_server_file(objects_dir: Path) -> Path:
    """Return the path of the file in which other processes find the running server."""
    return objects_dir.with_suffix(".json")


def _write_server_file(objects_dir: Path, server: S3Server) -> None:
    """Write the server's address and secret access key to a file that only the user can read."""
    draft_file = objects_dir.with_suffix(".draft")
    with open(draft_file, "w", opener=open_private_file) as file:
        json.dump(asdict(server), file)
    # The rename is atomic, so that other processes never read an incomplete file.
    draft_file.replace(_get_server_file(objects_dir))


def _wait_for_server_of_another_process(objects_dir: Path) -> S3Server:
    """Wait until the server that another process is starting runs, and return it."""
    server_file = _get_server_file(objects_dir)
    error_message = f"Another process has locked {objects_dir}, but its S3 server did not start."
    wait_until(server_file.exists, None, error_message)
    return S3Server(**json.loads(server_file.read_text()))


def _get_rclone_path() -> str:
    """Return the path of the program rclone, which pip installs next to the Python interpreter.

    Raises `EmbeddedError` if it is not installed.
    """
    rclone = Path(sys.executable).parent / "rclone"
    if not os.access(rclone, os.X_OK):
        raise EmbeddedError("The embedded S3 server is not installed. Run make, or set S3_BUCKET.")
    return str(rclone)
