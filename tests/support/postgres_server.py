"""A Postgres of a test's own, which it may start, stop, freeze and kill."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

from app import embedded, schema
from tests.support import servers


@asynccontextmanager
async def running_postgres(data_dir: Path) -> AsyncIterator[str]:
    """The URL of the server of these data."""
    with embedded.postgres(data_dir) as server:
        yield server.url()


@contextmanager
def frozen_postgres(data_dir: Path) -> Iterator[None]:
    """Nothing of the server answers, and no connection of it breaks, while the block lasts."""
    stopped = _processes(data_dir)
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


def kill_postgres(data_dir: Path) -> None:
    """End all of the server at once, as when the machine loses its power."""
    killed = _processes(data_dir)
    for process in killed:
        process.kill()
    psutil.wait_procs(killed)


def _processes(data_dir: Path) -> list[psutil.Process]:
    server = psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))
    return [server, *server.children(recursive=True)]


def create_migrated_data_dir(data_dir: Path) -> Path:
    """Data of a server that does not run: the schema is there."""
    data_dir.chmod(0o755)
    with embedded.postgres(data_dir, servers.SETTINGS_WITHOUT_DURABILITY) as server:
        schema.upgrade(servers.sqlalchemy_url(server.url()))
    return data_dir
