"""Real processes of the service: the command line as a person starts it."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from app import embedded

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "tests"  # not where a developer's .env is: its database is none of theirs
# Variables of the suite that its processes inherit: where programs are, and the fast paths.
KEPT_VARIABLES = ("PATH", "HOME", "HTTP_FAST_PATH", "DB_FAST_PATH")
PATIENCE = 60.0  # seconds
POLL = 0.02  # seconds


async def start(*command: str, module: str = "app", **environment: str) -> Process:
    """`python -m app COMMAND` with a clean environment, on any free port.

    With a DATABASE_URL it uses the suite's store, else an embedded one of its own.
    """
    return await spawn(*command, module=module, environment=environment, stderr=STDOUT)


async def spawn(
    *command: str,
    environment: Mapping[str, str],
    module: str = "app",
    stdin: int | None = None,
    stdout: int = PIPE,
    stderr: int = PIPE,
    session: bool = False,
) -> Process:
    """The same, with streams of the test's own; in a session it has no terminal but those."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    given = {**kept, "PORT": "0", "DATABASE_URL": "", "PYTHONPATH": str(ROOT), **environment}
    if given["DATABASE_URL"]:
        given = {**store_environment(), **given}
    program = (sys.executable, "-m", module, *command)
    return await asyncio.create_subprocess_exec(
        *program,
        cwd=PLACE,
        env=given,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=session,
    )


def store_environment() -> dict[str, str]:
    """The environment variables that name the suite's store."""
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    endpoint = os.environ["TEST_S3_ENDPOINT_URL"]
    return {**credentials, "S3_ENDPOINT_URL": endpoint, "S3_BUCKET": embedded.BUCKET}


async def run(*command: str, **environment: str) -> tuple[int | None, str]:
    """The exit code and everything that was printed."""
    process = await start(*command, **environment)
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


class Said(NamedTuple):
    """How a process ended and what it printed."""

    code: int | None
    out: str
    err: str


async def said(*command: str, given: bytes = b"", **environment: str) -> Said:
    """A process to its end, with something on its standard input."""
    process = await spawn(*command, environment=environment, stdin=PIPE)
    return await ended(process, given)


async def ended(process: Process, given: bytes | None = None) -> Said:
    """The end of a process that is given the last of its standard input."""
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate(given)
        if process.stdin:
            # A process may end before it has read everything. The first releases of Python 3.11
            # report that as an exception never retrieved, which would fail some later test.
            with suppress(BrokenPipeError, ConnectionResetError):
                await process.stdin.wait_closed()
    return Said(process.returncode, (out or b"").decode(), (err or b"").decode())


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Ask again and again, until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(POLL)


class Worker:
    """A process that goes on until it is stopped, and what it has printed so far."""

    def __init__(self, process: Process) -> None:
        self.process, self.said = process, ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.said += line.decode()

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, if it is there still; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            await self._reading
            return await self.process.wait()


@asynccontextmanager
async def working(
    environment: Mapping[str, str], count: int = 1, module: str = "app"
) -> AsyncIterator[list[Worker]]:
    """So many workers started at once; those that are left are stopped when the block ends."""
    workers: list[Worker] = []
    try:
        while len(workers) < count:
            workers.append(Worker(await start("worker", module=module, **environment)))
        yield workers
    finally:
        for worker in workers:
            await worker.end()


@asynccontextmanager
async def serving(*options: str, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """A server that listens, and its origin; it is told to stop when the block ends."""
    process = await start("serve", *options, **environment)
    try:
        yield process, await announced(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


async def announced(process: Process) -> str:
    """The origin that the server prints: from then on a connection waits until it is served."""
    assert process.stdout
    said = ""
    async with asyncio.timeout(PATIENCE):
        async for line in process.stdout:
            said += line.decode()
            if found := re.search(r"serves (http://\S+)", said):
                return found[1]
    raise AssertionError(said)
