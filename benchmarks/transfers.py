"""The upload benchmark's hands: the servers, the files on their way, and who watches meanwhile."""

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
from benchmarks.servers import BOOKSHELF_MODULE, TUTORIAL_MODULE, Server, running_module

MIB: Final = 2**20
BOOKSHELF, TUTORIAL, FROM_MEMORY = "bookshelf", "tutorial", "from memory"
SERVICES: Final = {
    BOOKSHELF: BOOKSHELF_MODULE,
    TUTORIAL: tuple(word.replace("tutorial", "tutorial_uploads") for word in TUTORIAL_MODULE),
}
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
    """The database and the store that all share, and a directory for everything."""

    directory: Path
    database_url: str
    store: embedded.S3Server

    @contextmanager
    def server(self, name: str) -> Iterator[Server]:
        """A fresh process of a service, on any core, with a place for temporary files."""
        self.scratch(name).mkdir(exist_ok=True)
        environment = {
            **self.store.environment(),
            "S3_ENDPOINT_URL": self.store.endpoint,
            "S3_BUCKET": embedded.BUCKET,
            "TMPDIR": str(self.scratch(name)),
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

    def scratch(self, name: str) -> Path:
        return self.directory / f"tmp-{name}"

    def upload(self, server: Server, size: int, times: int = 1) -> float:
        """Seconds for so many uploads at once of so many MiB each."""
        form = self.form(size)
        with ThreadPoolExecutor(times) as threads:
            started = perf_counter()
            list(threads.map(lambda _: _send_form(server.port, form), range(times)))
            return perf_counter() - started

    def upload_from_memory(self, size: int) -> float:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_upload_from_memory, self.store, size).result()

    def form(self, size: int) -> Path:
        """A form with so many MiB of file, on disk, so that sending it costs next to nothing."""
        if not (path := self.directory / f"{size}.form").exists():
            block = os.urandom(MIB)
            with path.open("wb") as file:
                file.writelines([FORM_HEAD, *[block] * size, FORM_TAIL])
        return path

    def empty(self) -> None:
        """Remove what has been uploaded, and let the disk come to rest."""
        open_bucket(self.store).objects.delete()
        os.sync()


def open_bucket(store: embedded.S3Server) -> Any:
    """As boto3 comes, with its defaults for everything."""
    given = {name.lower(): value for name, value in store.environment().items()}
    session = boto3.Session(region_name="us-east-1", **given)
    return session.resource("s3", endpoint_url=store.endpoint).Bucket(embedded.BUCKET)


def _upload_from_memory(store: embedded.S3Server, size: int) -> float:
    target, content = open_bucket(store), io.BytesIO(os.urandom(MIB) * size)
    target.put_object(Key="first", Body=b"")  # as the servers, it has connected before
    started = perf_counter()
    target.upload_fileobj(content, "from-memory")
    return perf_counter() - started


def _send_form(port: int, form: Path) -> None:
    """The kernel copies the file to the socket."""
    head = (
        f"POST /documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: {form.stat().st_size}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with form.open("rb") as file, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode())
        connection.sendfile(file)
        answer = HTTPResponse(connection)
        answer.begin()
        if answer.status != 201:
            raise RuntimeError(f"{answer.status}: {answer.read().decode()}")


@contextmanager
def probing(server: Server, path: str) -> Iterator[list[float]]:
    """Milliseconds of a GET that is asked every 10 ms as long as the block runs."""
    done, found = Event(), list[float]()
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def probe() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            while not done.wait(0.01):
                started = perf_counter()
                connection.sendall(request)
                answer = HTTPResponse(connection)
                answer.begin()
                answer.read()
                found.append((perf_counter() - started) * 1e3)
                if answer.status != 200:
                    raise RuntimeError(f"{path}: {answer.status}")

    with ThreadPoolExecutor(1) as thread:
        probing = thread.submit(probe)
        sleep(0.1)  # it has connected, and the service has warmed up
        found.clear()
        try:
            yield found
        finally:
            done.set()
        probing.result()


@dataclass
class Footprint:
    """What a process has used: bytes, but for the number of files."""

    idle: int
    peak: int = 0
    pss: int = 0
    written: int = 0
    files: int = 0


@contextmanager
def watching(server: Server, scratch: Path) -> Iterator[Footprint]:
    """A process that has just been started, as long as the block runs (Linux only)."""
    process, done = psutil.Process(server.pid), Event()
    found = Footprint(server.memory_bytes())
    written = process.io_counters().write_bytes

    def watch() -> None:
        while not done.wait(0.05):
            found.pss = max(found.pss, _kilobytes(server.pid, "smaps_rollup", "Pss:"))
            found.files = max(found.files, _count_open_files(server.pid, scratch))

    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(watch)
        try:
            yield found
        finally:
            done.set()
        watching.result()
    found.peak = _kilobytes(server.pid, "status", "VmHWM:")
    found.written = process.io_counters().write_bytes - written


def _kilobytes(pid: int, name: str, field: str) -> int:
    """A line of a file of the kernel's, in bytes."""
    text = Path(f"/proc/{pid}/{name}").read_text()
    return int(text.partition(f"\n{field}")[2].split()[0]) * 1024


def _count_open_files(pid: int, directory: Path) -> int:
    """Files under the directory that the process has open, those without a name too."""
    links = list[str]()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            links.append(str(link.readlink()))
    return sum(link.startswith(str(directory)) for link in links)
