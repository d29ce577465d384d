"""The services, files and observers of the upload benchmark."""

import io
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from time import perf_counter, sleep
from typing import Any, Final

import boto3
import psutil

from app import embedded
from benchmarks.cores import Cores
from benchmarks.servers import SERVICE_MODULE, TUTORIAL_MODULE, Server, running_module

MIB: Final = 2**20
SERVICE: Final = "bookshelf"
TUTORIAL: Final = "tutorial"
FROM_MEMORY: Final = "from memory"
# The arguments of `python -m` for each service.
SERVICES: Final = {
    SERVICE: SERVICE_MODULE,
    TUTORIAL: tuple(word.replace("tutorial", "tutorial_uploads") for word in TUTORIAL_MODULE),
}
PROBE_INTERVAL_SECONDS: Final = 0.01
POLL_SECONDS: Final = 0.05
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
    """The database and the object store that all services share, and a directory for files."""

    directory: Path
    database_url: str
    store: embedded.S3Server

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

    def upload_from_memory(self, size: int) -> float:
        """Upload `size` MiB to the object store from a new process. Return the seconds it takes."""
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_upload_from_memory, self.store, size).result()

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


def _upload_from_memory(store: embedded.S3Server, size: int) -> float:
    """Upload `size` MiB of random bytes with `upload_fileobj`. Return the seconds it takes."""
    bucket = open_bucket(store)
    content = io.BytesIO(os.urandom(MIB) * size)
    # Connect before the measurement, as the services do.
    bucket.put_object(Key="first", Body=b"")
    started_at = perf_counter()
    bucket.upload_fileobj(content, "from-memory")
    return perf_counter() - started_at


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


@contextmanager
def probing(server: Server, path: str) -> Iterator[list[float]]:
    """Send a GET request every PROBE_INTERVAL_SECONDS while the block runs.

    Yields the list to which the latencies in milliseconds are added.
    """
    stop = Event()
    latencies: list[float] = []
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def probe() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            while not stop.wait(PROBE_INTERVAL_SECONDS):
                started_at = perf_counter()
                connection.sendall(request)
                response = HTTPResponse(connection)
                response.begin()
                response.read()
                latencies.append((perf_counter() - started_at) * 1e3)
                if response.status != 200:
                    raise RuntimeError(f"{path}: {response.status}")

    with ThreadPoolExecutor(1) as thread:
        probes = thread.submit(probe)
        # Ignore the first requests, which open connections and fill caches.
        sleep(0.1)
        latencies.clear()
        try:
            yield latencies
        finally:
            stop.set()
        probes.result()


@dataclass
class Footprint:
    """The memory and disk usage of a process.

    Args:
        idle: Resident memory before the load, in bytes.
        peak: Highest resident memory, in bytes.
        pss: Highest proportional set size, in bytes: memory that processes share is divided.
        written: Bytes written to disk.
        files: Highest number of temporary files that were open at the same time.
    """

    idle: int
    peak: int = 0
    pss: int = 0
    written: int = 0
    files: int = 0


@contextmanager
def watching(server: Server, temporary_directory: Path) -> Iterator[Footprint]:
    """Observe the process of a server that has just started, while the block runs (Linux only).

    The footprint that is yielded is complete after the block.
    """
    process = psutil.Process(server.pid)
    stop = Event()
    footprint = Footprint(server.memory_bytes())
    written_before = process.io_counters().write_bytes

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            pss = _read_kilobytes(server.pid, "smaps_rollup", "Pss:")
            open_files = _count_open_files(server.pid, temporary_directory)
            footprint.pss = max(footprint.pss, pss)
            footprint.files = max(footprint.files, open_files)

    with ThreadPoolExecutor(1) as thread:
        watcher = thread.submit(watch)
        try:
            yield footprint
        finally:
            stop.set()
        watcher.result()
    footprint.peak = _read_kilobytes(server.pid, "status", "VmHWM:")
    footprint.written = process.io_counters().write_bytes - written_before


def _read_kilobytes(pid: int, file_name: str, field: str) -> int:
    """Return a field of a file in /proc that is in kilobytes, converted to bytes.

    Example of a line: `VmHWM:     5432 kB`.
    """
    text = Path(f"/proc/{pid}/{file_name}").read_text()
    kilobytes = text.partition(f"\n{field}")[2].split()[0]
    return int(kilobytes) * 1024


def _count_open_files(pid: int, directory: Path) -> int:
    """Return how many files in a directory a process has open, also files that were deleted."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # The process may close the file at any time.
        with suppress(OSError):
            if str(descriptor.readlink()).startswith(str(directory)):
                count += 1
    return count
