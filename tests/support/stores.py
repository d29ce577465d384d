"""Runs real S3 servers, so that tests do not depend on the behavior of a single one.

- rclone is the embedded server of development. It stores objects as plain files.
- SeaweedFS is the second server, which differs from rclone in many details.
- moto keeps objects in memory and verifies no signatures. It imitates rules of Amazon S3 that the
  others do not have: a bucket with Object Lock refuses a body without a checksum.

Each server has an empty bucket and listens on 127.0.0.1 only. It stops when its block ends, or when
the process that started it dies.
"""

import json
import random
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app import embedded
from app.embedded.processes import get_exit_with_parent_prefix, start_process, wait_until
from tests.support.directories import server_directory

ACCESS_KEY_ID = embedded.BUCKET
SEAWEEDFS = Path(sys.executable).parent / "weed"
# Each service of SeaweedFS has a port for HTTP, and one for gRPC whose number is 10,000 higher.
SEAWEEDFS_PORT_OPTIONS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")
SEAWEEDFS_GRPC_OFFSET = 10_000
# The system assigns ports above 32,000 to clients, so another process rarely takes these.
SEAWEEDFS_PORTS = range(10_000, 22_000)
START_ATTEMPTS = 3


@dataclass(frozen=True)
class Store:
    """A running S3 server with a bucket.

    boto3 takes credentials from the environment. If the service uses the store in the process of
    the test, call `set_credentials` first.
    """

    endpoint: str  # for example http://127.0.0.1:41234
    secret_access_key: str
    bucket: str = embedded.BUCKET

    def credential_variables(self) -> dict[str, str]:
        """Return the credentials as the environment variables that boto3 reads."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}

    def set_credentials(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set the credentials in the environment of this process until the test ends."""
        for name, value in self.credential_variables().items():
            monkeypatch.setenv(name, value)

    def create_client(self) -> Any:
        """Return a boto3 client, with which a test prepares the bucket. It does not retry."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=self.secret_access_key,
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )


@contextmanager
def running_rclone() -> Iterator[Store]:
    """Run rclone until the block ends."""
    with server_directory() as directory, embedded.run_s3_server(directory) as server:
        yield Store(server.endpoint, server.secret_access_key)


@contextmanager
def running_seaweedfs() -> Iterator[Store]:
    """Run all services of SeaweedFS in one process until the block ends.

    Skips the test on a machine for which there is no wheel.
    """
    if not SEAWEEDFS.exists():
        pytest.skip("SeaweedFS is not installed")
    with server_directory() as directory, ExitStack() as stack:
        yield _start_seaweedfs(directory, stack)


def _start_seaweedfs(directory: Path, stack: ExitStack) -> Store:
    """Start SeaweedFS, which the stack stops, and wait until it has a bucket.

    SeaweedFS cannot choose free ports itself. It exits if another process takes one of its ports
    first, and is then started again with other ports.
    """
    secret_access_key = secrets.token_hex(16)
    _write_identities(directory, secret_access_key)
    for _ in range(START_ATTEMPTS - 1):
        with suppress(embedded.EmbeddedError):
            return _try_to_start_seaweedfs(directory, secret_access_key, stack)
    return _try_to_start_seaweedfs(directory, secret_access_key, stack)


def _try_to_start_seaweedfs(directory: Path, secret_access_key: str, stack: ExitStack) -> Store:
    """Start SeaweedFS with ports that are free now. Raises `EmbeddedError` if it exits."""
    ports = _choose_ports()
    stack.callback(_remove_sockets, ports)
    log_file = directory / "seaweedfs.log"
    command = _create_seaweedfs_command(directory, ports)
    process = stack.enter_context(_running_process(command, log_file))
    store = Store(f"http://127.0.0.1:{ports['s3.port']}", secret_access_key)
    try:
        wait_until(partial(_try_create_bucket, store), process, "SeaweedFS did not start.")
    except embedded.EmbeddedError as error:
        error.add_note(log_file.read_text()[-2000:])
        raise
    return store


def _write_identities(directory: Path, secret_access_key: str) -> None:
    """Write the file that tells SeaweedFS the credentials, which are not arguments."""
    credentials = {"accessKey": ACCESS_KEY_ID, "secretKey": secret_access_key}
    identity = {"name": ACCESS_KEY_ID, "credentials": [credentials], "actions": ["Admin"]}
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))


def _create_seaweedfs_command(directory: Path, ports: dict[str, int]) -> list[str]:
    """Return the command that runs SeaweedFS without telemetry and without optional services."""
    return [
        str(SEAWEEDFS),
        "-logtostderr",
        "mini",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{option}={port}" for option, port in ports.items()),
        f"-s3.config={directory / 's3.json'}",
        # The bucket can also be a part of the host name, for example http://files.localhost:8333.
        "-s3.domainName=localhost",
        # A bucket that does not exist is an error, as on other servers.
        "-s3.autoCreateBucket=false",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.localSocket={directory / 's3.sock'}",
        f"-filer.localSocket={directory / 'filer.sock'}",
    ]


def _choose_ports() -> dict[str, int]:
    """Return an HTTP port for each of `SEAWEEDFS_PORT_OPTIONS`. All are different, and free now."""
    ports: dict[str, int] = {}
    # The sockets occupy the ports until all are chosen, so that they are different.
    with ExitStack() as stack:
        while len(ports) < len(SEAWEEDFS_PORT_OPTIONS):
            port = random.choice(SEAWEEDFS_PORTS)
            with suppress(OSError):
                for number in (port, port + SEAWEEDFS_GRPC_OFFSET):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
                ports[SEAWEEDFS_PORT_OPTIONS[len(ports)]] = port
    return ports


def _try_create_bucket(store: Store) -> bool:
    """Create the bucket. Return False if the server does not accept requests yet."""
    client = store.create_client()
    try:
        client.create_bucket(Bucket=store.bucket)
    except (client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        # An earlier attempt was successful, but its response was lost.
        return True
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


def _remove_sockets(ports: dict[str, int]) -> None:
    """Remove the Unix sockets that SeaweedFS leaves behind. Their directory cannot be changed."""
    for port in ports.values():
        for path in Path("/tmp").glob(f"seaweedfs-*-{port + SEAWEEDFS_GRPC_OFFSET}.sock"):
            path.unlink(missing_ok=True)


@contextmanager
def running_moto() -> Iterator[Store]:
    """Run moto until the block ends.

    A test may create more buckets with `Store.create_client`, for example with Object Lock.
    """
    command = [sys.executable, "-m", "moto.server", "--host=127.0.0.1", "--port=0"]
    with server_directory() as directory:
        log_file = directory / "moto.log"
        with _running_process(command, log_file) as process:
            match = wait_until(
                lambda: re.search(r"Running on (http://[0-9.:]+)", log_file.read_text()),
                process,
                "moto did not start.",
            )
            store = Store(match[1], "not-verified-by-moto")
            _try_create_bucket(store)
            yield store


@contextmanager
def _running_process(command: list[str], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends. It is killed, because its data are temporary."""
    process = start_process([*get_exit_with_parent_prefix(), *command], log_file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
