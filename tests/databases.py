"""A Postgres of a test's own, which it may start, stop and freeze."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

from app import embedded


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[str]:
    """The URL of the server of these data."""
    with embedded.postgres(data_dir) as server:
        yield server.url()


@contextmanager
def frozen(data_dir: Path) -> Iterator[None]:
    """Nothing of the server answers, and no connection of it breaks, while the block lasts."""
    server = psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    stopped = [server, *server.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()
