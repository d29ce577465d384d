"""Runs the service on ASGI servers other than that of `python -m app serve`."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

import httpx
import psutil
import pytest

from tests.support.metrics import find_free_port
from tests.support.processes import PROJECT_ROOT, TIMEOUT_SECONDS, build_environment, poll_until

# `make hosts` selects all servers. Otherwise, the tests run only one, because each takes long.
ALL_ARE_SELECTED = os.environ.get("TEST_ASGI_SERVERS") == "all"


@dataclass(frozen=True)
class AsgiServer:
    """A command that runs the service.

    `{port}` in the arguments stands for the port. A Python package that is not a dependency of the
    service may be required. `make hosts` installs it.
    """

    name: str
    arguments: tuple[str, ...]
    package: str = "uvicorn"

    def skip_unless_installed(self) -> None:
        """Skip the test if the Python package of the server is not installed."""
        if find_spec(self.package) is None:
            pytest.skip(f"{self.package} is not installed")


def _define(name: str, command: str, package: str = "uvicorn") -> AsgiServer:
    return AsgiServer(name, tuple(command.split()), package)


_UVICORN = _define("uvicorn", "uvicorn app.main:app --port {port}")
_SERVERS = (
    _UVICORN,
    _define("uvicorn --factory", "uvicorn app.main:create_app --factory --port {port} --http h11"),
    _define("uvicorn --workers", "uvicorn app.main:app --workers 2 --port {port}"),
    # The profiles for FastAPI of VS Code and PyCharm run this command.
    _define("uvicorn --reload", "uvicorn app.main:app --reload --reload-dir app --port {port}"),
    _define("fastapi dev", "fastapi dev --reload-dir app --port {port}", "fastapi_cli"),
    _define(
        "fastapi dev file", "fastapi dev app/main.py --reload-dir app --port {port}", "fastapi_cli"
    ),
    _define("fastapi run", "fastapi run --port {port}", "fastapi_cli"),
    _define("granian", "granian --interface asgi app.main:app --port {port}", "granian"),
    _define("hypercorn", "hypercorn app.main:app --bind 127.0.0.1:{port}", "hypercorn"),
    _define(
        "gunicorn with uvicorn",
        "gunicorn app.main:app -k uvicorn_worker.UvicornWorker -w 2 -b 127.0.0.1:{port}",
        "uvicorn_worker",
    ),
    _define("gunicorn", "gunicorn app.main:app -k asgi -b 127.0.0.1:{port}", "gunicorn"),
)

SELECTED_SERVERS = _SERVERS if ALL_ARE_SELECTED else (_UVICORN,)


@dataclass
class RunningServer:
    """A running server. `output` is what it has printed so far."""

    process: Process
    origin: str
    output: str = ""
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def read_output(self) -> None:
        """Begin to read the output, so that the process never waits until it is read."""
        self._tasks.append(asyncio.create_task(self._read_output()))

    async def _read_output(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.output += line.decode()

    async def wait_for_end(self) -> None:
        """Wait until the process and all that have its output open have ended."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.wait(self._tasks)
            await self.process.wait()


def _build_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of a server.

    `make hosts` names the directory with the packages of the servers in PYTHONPATH.
    """
    variables = build_environment(environment)
    paths = [variables["PYTHONPATH"], os.environ.get("PYTHONPATH", "")]
    return {**variables, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@asynccontextmanager
async def running_asgi_server(
    server: AsgiServer, **environment: str
) -> AsyncIterator[RunningServer]:
    """Start a server, wait until it responds, and stop it when the block ends.

    The keyword arguments are environment variables (see `start_command`).
    """
    port = find_free_port()
    arguments = [argument.replace("{port}", port) for argument in server.arguments]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=PROJECT_ROOT,
        env=_build_environment(environment),
        stdout=PIPE,
        stderr=STDOUT,
    )
    running = RunningServer(process, f"http://127.0.0.1:{port}")
    running.read_output()
    try:
        await _wait_until_it_responds(running)
        yield running
    finally:
        # A server that is killed leaves its workers behind.
        descendants = []
        if process.returncode is None:
            descendants = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
        await running.wait_for_end()
        _, still_running = psutil.wait_procs(descendants, timeout=TIMEOUT_SECONDS)
        assert still_running == []


async def _wait_until_it_responds(running: RunningServer) -> None:
    async with httpx.AsyncClient(base_url=running.origin, timeout=TIMEOUT_SECONDS) as client:

        async def responds() -> bool:
            assert running.process.returncode is None, running.output
            try:
                response = await client.get("/livez")
            except httpx.TransportError:
                return False
            return response.status_code == 200

        await poll_until(responds)
