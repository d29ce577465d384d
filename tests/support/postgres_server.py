"""A Postgres server that only one test uses, so that the test may freeze and kill it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

from app import embedded, schema
from tests.support import servers


@asynccontextmanager
async def running_postgres(data_dir: Path) -> AsyncIterator[str]:
    """Run Postgres with the data in a directory, and yield its URL."""
    with embedded.run_postgres(data_dir) as server:
        yield server.url()


@contextmanager
def frozen_postgres(data_dir: Path) -> Iterator[None]:
    """Suspend all processes of a server, so that connections stay open but get no response."""
    processes = _server_processes(data_dir)
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def kill_postgres(data_dir: Path) -> None:
    """Kill all processes of a server, which then cannot shut down cleanly."""
    processes = _server_processes(data_dir)
    for process in processes:
        process.kill()
    psutil.wait_procs(processes)


def _server_processes(data_dir: Path) -> list[psutil.Process]:
    """Return the main process of a server and its children."""
    # The first line of postmaster.pid is the id of the main process.
    first_line = (data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0]
    server = psutil.Process(int(first_line))
    return [server, *server.children(recursive=True)]


def create_migrated_data_dir(data_dir: Path) -> Path:
    """Create the data of a server whose database is migrated, and return the directory.

    The server is stopped afterwards.
    """
    # The server may run as another user, who must be able to enter the directory.
    data_dir.chmod(0o755)
    with embedded.run_postgres(data_dir, servers.SETTINGS_WITHOUT_DURABILITY) as server:
        schema.upgrade(servers.sqlalchemy_url(server.url()))
    return data_dir
