"""The services and files of the upload benchmark."""

import io
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import boto3

from app import embedded
from benchmarks.cores import Cores
from benchmarks.servers import (
    SERVICE_MODULE,
    TUTORIAL_MODULE,
    Server,
    environment_of_checkout,
    running_module,
)

MIB: Final = 2**20
SERVICE: Final = "bookshelf"
TUTORIAL: Final = "tutorial"
BEFORE: Final = "before"
# The arguments of `python -m` for each service.
SERVICES: Final = {
    SERVICE: SERVICE_MODULE,
    BEFORE: SERVICE_MODULE,
    TUTORIAL: tuple(word.replace("tutorial", "tutorial_uploads") for word in TUTORIAL_MODULE),
}
# The beginning and the end of a multipart form with a file.
BOUNDARY: Final = "----benchmark7MA4YWxkTrZu0gW"
FORM_HEAD: Final = f"""--{BOUNDARY}
Content-Disposition: form-data; name="name"

bench
--{BOUNDARY}
Content-Disposition: form-data; name="file"; filename="a.bin"
Content-Type: application/octet-stream

""".replace("\n", "\r\n").encode()
FORM_TAIL: Final = f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class UploadBench:
    """The database and the object store that all services share, and a directory for files.

    `before` is the directory of another checkout, which is measured too unless it is None.
    """

    directory: Path
    database_url: str
    store: embedded.S3Server
    before: Path | None = None

    @property
    def service_names(self) -> list[str]:
        """Return the names of the services to measure."""
        names = [SERVICE, TUTORIAL]
        if self.before is not None:
            names.append(BEFORE)
        return names

    @contextmanager
    def server(self, name: str) -> Iterator[Server]:
        """Run a service, which may use any core, until the block ends."""
        temporary_directory = self.temporary_directory(name)
        temporary_directory.mkdir(exist_ok=True)
        environment = {
            **self.store.credential_variables(),
            "S3_ENDPOINT_URL": self.store.endpoint,
            "S3_BUCKET": embedded.BUCKET,
            "TMPDIR": str(temporary_directory),
        }
        if name == BEFORE and self.before is not None:
            environment.update(environment_of_checkout(self.before))
        with running_module(
            name,
            SERVICES[name],
            cores=Cores(),
            directory=self.directory,
            database_url=self.database_url,
            environment=environment,
        ) as server:
            yield server

    def temporary_directory(self, name: str) -> Path:
        """Return the directory for temporary files of a service."""
        return self.directory / f"tmp-{name}"

    def upload(self, server: Server, size: int, count: int = 1) -> float:
        """Upload `count` files of `size` MiB each at the same time.

        Returns the seconds until the last upload is complete.
        """
        form = self.form(size)
        with ThreadPoolExecutor(count) as threads:
            started_at = perf_counter()
            uploads = [threads.submit(_send_form, server.port, form) for _ in range(count)]
            for upload in uploads:
                upload.result()
            return perf_counter() - started_at

    def upload_from_memory(self, size: int, count: int = 1) -> list[float]:
        """Upload `size` MiB to the object store from a new process, `count` times in sequence.

        Returns the seconds that each upload takes.
        """
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_upload_from_memory, self.store, size, count).result()

    def form(self, size: int) -> Path:
        """Return the path of a form with a file of `size` MiB, which is stored on disk."""
        path = self.directory / f"{size}.form"
        if not path.exists():
            block = os.urandom(MIB)
            with path.open("wb") as file:
                file.writelines([FORM_HEAD, *[block] * size, FORM_TAIL])
        return path

    def empty(self) -> None:
        """Delete all objects, and wait until the disk has written its buffers."""
        open_bucket(self.store).objects.delete()
        os.sync()


def open_bucket(store: embedded.S3Server) -> Any:
    """Return the bucket as a resource of boto3, with the defaults of boto3."""
    credentials = {name.lower(): value for name, value in store.credential_variables().items()}
    session = boto3.Session(region_name="us-east-1", **credentials)
    return session.resource("s3", endpoint_url=store.endpoint).Bucket(embedded.BUCKET)


def _upload_from_memory(store: embedded.S3Server, size: int, count: int) -> list[float]:
    """Upload `size` MiB of random bytes `count` times with `upload_fileobj`.

    Returns the seconds that each upload takes.
    """
    bucket = open_bucket(store)
    content = os.urandom(MIB) * size
    # Connect before the measurement, as the services do.
    bucket.put_object(Key="first", Body=b"")
    durations = []
    for number in range(count):
        # `BytesIO` does not copy the bytes.
        file = io.BytesIO(content)
        started_at = perf_counter()
        bucket.upload_fileobj(file, f"from-memory-{number}")
        durations.append(perf_counter() - started_at)
    return durations


def _send_form(port: int, form: Path) -> None:
    """Send `POST /documents` with a form. Raises `RuntimeError` if the status is not 201."""
    head = (
        f"POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: {form.stat().st_size}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with form.open("rb") as file, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode())
        connection.sendfile(file)
        response = HTTPResponse(connection)
        response.begin()
        if response.status != 201:
            raise RuntimeError(f"{response.status}: {response.read().decode()}")
