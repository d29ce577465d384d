"""Real processes of the service: the command line as a person starts it."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app import embedded

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds


async def start(*command: str, **environment: str) -> Process:
    """`python -m app COMMAND` with a clean environment, on any free port.

    With a DATABASE_URL it uses the suite's store, else an embedded one of its own.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    given = {**kept, "PORT": "0", "DATABASE_URL": "", **environment}
    if given["DATABASE_URL"]:
        store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        endpoint = os.environ["TEST_S3_ENDPOINT_URL"]
        given = {**store, "S3_ENDPOINT_URL": endpoint, "S3_BUCKET": embedded.BUCKET, **given}
    program = (sys.executable, "-m", "app", *command)
    return await asyncio.create_subprocess_exec(
        *program, cwd=ROOT, env=given, stdout=PIPE, stderr=STDOUT
    )


async def run(*command: str, **environment: str) -> tuple[int | None, str]:
    """The exit code and everything that was printed."""
    process = await start(*command, **environment)
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


@asynccontextmanager
async def serving(*options: str, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """A server that listens, and its origin; it is told to stop when the block ends."""
    process = await start("serve", *options, **environment)
    try:
        yield process, await _announced(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


async def _announced(process: Process) -> str:
    """The origin that the server prints: from then on a connection waits until it is served."""
    assert process.stdout
    said = ""
    async with asyncio.timeout(PATIENCE):
        async for line in process.stdout:
            said += line.decode()
            if found := re.search(r"serves (http://\S+)", said):
                return found[1]
    raise AssertionError(said)
