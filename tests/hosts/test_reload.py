"""`serve --reload` with the whole service, whose code is edited while it runs."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.asgi_servers import ALL_ARE_SELECTED
from tests.support.metrics import find_free_port
from tests.support.processes import TIMEOUT_SECONDS, poll_until
from tests.support.project_copy import Project

pytestmark = pytest.mark.skipif(not ALL_ARE_SELECTED, reason="make hosts runs these tests")
EDITED_FILE = Path("app/core/server/_health.py")
MIGRATION = """
revision = "test"
down_revision = {previous!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
"""


class ReloadedService:
    """A service whose code can be edited, and what it has printed so far."""

    def __init__(self, project: Project, process: Process, origin: str) -> None:
        self.directory = project.directory
        self.client = httpx.AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS)
        self.output = ""
        self.process = process
        self._reading = asyncio.create_task(self._read_output())

    async def _read_output(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.output += line.decode()

    async def wait_for_output(self, text: str, count: int = 1) -> None:
        async def is_printed() -> bool:
            return self.output.count(text) >= count

        await poll_until(is_printed)

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        await self.wait_for_end()
        assert self.process.returncode == 0

    async def wait_for_end(self) -> None:
        """Wait until the reloader, the server and the worker, which share their output, end."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._reading
            await self.process.wait()


@asynccontextmanager
async def running_service(directory: Path) -> AsyncIterator[ReloadedService]:
    """Start a copy of the service as `make run` does, and stop it when the block ends."""
    directory.chmod(0o755)
    project = Project(directory)
    port = find_free_port()
    environment = {
        **os.environ,
        "PORT": port,
        "DATABASE_URL": "",
        "S3_BUCKET": "",
        "PYTHONPATH": "",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--migrate", "--worker", "--reload"),
        cwd=directory, env=environment, stdout=PIPE, stderr=STDOUT,
    )  # fmt: skip
    service = ReloadedService(project, process, f"http://127.0.0.1:{port}")
    await service.wait_for_output("Bookshelf serves")
    async with service.client:
        yield service
    if service.process.returncode is None:
        await service.stop()


async def test_edits_restart_the_service_and_the_embedded_servers_continue(tmp_path: Path) -> None:
    async with running_service(tmp_path) as service:
        await service.wait_for_output("count-users:")
        author = (await service.client.post("/authors", json={"name": "x"})).json()
        postmaster = (tmp_path / ".data/postgres/postmaster.pid").read_text().splitlines()[0]
        store = (tmp_path / ".data/s3.json").read_text()

        code = (tmp_path / EDITED_FILE).read_text()
        (tmp_path / EDITED_FILE).write_text(code.replace('status="alive"', 'status="ready"'))
        await service.wait_for_output("Bookshelf serves", 2)
        assert (await service.client.get("/livez")).json() == {"status": "ready"}
        assert (await service.client.get(f"/authors/{author['id']}")).json() == author
        assert (await service.client.get("/readyz")).json() == {"status": "ready"}

        (tmp_path / EDITED_FILE).write_text("def (")
        await service.wait_for_output("the server has ended")
        assert "SyntaxError" in service.output
        waiting = asyncio.create_task(service.client.get("/livez"))
        (tmp_path / EDITED_FILE).write_text(code)
        assert (await waiting).json() == {"status": "alive"}

        (tmp_path / ".env").write_text("ANONYMOUS_ACCESS=none")
        await service.wait_for_output("detected changes in '.env'")
        await service.wait_for_output("Bookshelf serves", 4)
        assert (await service.client.get("/authors")).status_code == 401

        assert (tmp_path / ".data/postgres/postmaster.pid").read_text().startswith(postmaster)
        assert (tmp_path / ".data/s3.json").read_text() == store
    assert not (tmp_path / ".data/postgres/postmaster.pid").exists()


async def test_new_migration_is_applied_after_the_reload(tmp_path: Path) -> None:
    async with running_service(tmp_path) as service:
        versions = tmp_path / "migrations" / "versions"
        newest = max(versions.glob("*.py")).name.partition("-")[2].partition("_")[0]
        new_file = versions / "2099_01_01_0000-test_add_nothing.py"
        new_file.write_text(MIGRATION.format(previous=newest))
        await service.wait_for_output("Bookshelf serves", 2)
        assert (await service.client.get("/readyz")).json() == {"status": "ready"}


async def test_everything_stops_when_the_reloader_is_killed(tmp_path: Path) -> None:
    async with running_service(tmp_path) as service:
        descendants = psutil.Process(service.process.pid).children(recursive=True)
        service.process.kill()
        await service.wait_for_end()

    async def have_ended() -> bool:
        return not any(process.is_running() for process in descendants)

    await poll_until(have_ended)
