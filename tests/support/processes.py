"""Run the command line of the service in new processes, as a user does."""

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
from tests.support.forked_processes import can_fork, start_forked_process
from tests.support.settings import TEST_HOSTS

PROJECT_ROOT = Path(__file__).parents[2]
# A directory without a `.env` file, so that a process cannot use the database of the developer.
WORKING_DIRECTORY = PROJECT_ROOT / "tests"
# The variables that a process inherits: where programs are, and the settings of the fast paths.
INHERITED_VARIABLES = ("PATH", "HOME", "HTTP_FAST_PATH", "DB_FAST_PATH")
# Most tests send requests without a token. Production refuses these settings.
OPEN_ACCESS = {"ANONYMOUS_ACCESS": "full", "ALLOWED_HOSTS": TEST_HOSTS}
TIMEOUT_SECONDS = 60.0
POLL_INTERVAL_SECONDS = 0.02


async def start_command(*command: str, module: str = "app", **environment: str) -> Process:
    """Start `python -m app COMMAND`. The process writes its errors to standard output too.

    The keyword arguments are environment variables. With a DATABASE_URL the process uses the object
    store of the tests and serves requests without a token (`OPEN_ACCESS`), otherwise it starts an
    embedded Postgres and store. A server listens on any free port unless PORT is set.
    """
    return await spawn_command(*command, module=module, environment=environment, stderr=STDOUT)


async def spawn_command(
    *command: str,
    environment: Mapping[str, str],
    module: str = "app",
    stdin: int | None = None,
    stdout: int = PIPE,
    stderr: int = PIPE,
    session: bool = False,
) -> Process:
    """Start `python -m app COMMAND` with the given streams. See `start_command`.

    Args:
        command: The arguments of the command line, for example `"users", "create-admin"`.
        environment: Environment variables of the process.
        module: The Python module to run instead of `app`.
        stdin: A file descriptor, or a constant of `asyncio.subprocess`. The same for `stdout` and
            `stderr`.
        session: Whether the process runs in a new session, and so without a controlling terminal.
    """
    variables = build_environment(environment)
    if not session and can_fork(variables, (stdin, stdout, stderr)):
        return await start_forked_process(
            module, command, variables, stdin=stdin, stdout=stdout, stderr=stderr
        )
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *command,
        cwd=WORKING_DIRECTORY,
        env=variables,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=session,
    )


def build_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return all environment variables of a process: defaults, and those of `environment`.

    See `start_command` for the defaults.
    """
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    variables = {
        **inherited,
        "PORT": "0",
        "DATABASE_URL": "",
        "PYTHONPATH": str(PROJECT_ROOT),
        **environment,
    }
    if variables["DATABASE_URL"]:
        variables = {**store_environment(), **variables}
    if variables["DATABASE_URL"] and variables.get("APP_ENV") != "production":
        variables = {**OPEN_ACCESS, **variables}
    return variables


def store_environment() -> dict[str, str]:
    """Return the environment variables with which a process uses the object store of the tests."""
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    endpoint = os.environ["TEST_S3_ENDPOINT_URL"]
    return {**credentials, "S3_ENDPOINT_URL": endpoint, "S3_BUCKET": embedded.BUCKET}


async def exit_code_and_output(*command: str, **environment: str) -> tuple[int | None, str]:
    """Run a command in a new process. Return its exit code, and its output and errors as one text.

    The keyword arguments are environment variables.
    """
    process = await start_command(*command, **environment)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


class CommandResult(NamedTuple):
    """The exit code of a command and the text that it wrote."""

    exit_code: int | None
    stdout: str
    stderr: str


async def run_command(*command: str, input: bytes = b"", **environment: str) -> CommandResult:
    """Run a command in a new process, with `input` as its standard input, and wait for its end.

    The other keyword arguments are environment variables.
    """
    process = await spawn_command(*command, environment=environment, stdin=PIPE)
    return await wait_for_result(process, input)


async def wait_for_result(process: Process, input: bytes | None = None) -> CommandResult:
    """Write `input` to the standard input of a process, close it, and wait for the process."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        stdout, stderr = await process.communicate(input)
        if process.stdin:
            # A process may end before it has read its input. Early releases of Python 3.11 report
            # that as an exception that was never retrieved, and then a later test fails.
            with suppress(BrokenPipeError, ConnectionResetError):
                await process.stdin.wait_closed()
    # A stream that is not a pipe is None.
    return CommandResult(process.returncode, (stdout or b"").decode(), (stderr or b"").decode())


async def poll_until(condition: Callable[[], Awaitable[object]]) -> None:
    """Await a condition again and again until it is true.

    Raises `TimeoutError` after `TIMEOUT_SECONDS`.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await condition():
            await asyncio.sleep(POLL_INTERVAL_SECONDS)


class Worker:
    """A process that runs until it is stopped. `output` is what it has printed so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""
        self._reading = asyncio.create_task(self._read_output())

    async def _read_output(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.output += line.decode()

    async def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal to the process if it is still running. Return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal_number)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await self._reading
            return await self.process.wait()


@asynccontextmanager
async def running_workers(
    environment: Mapping[str, str], count: int = 1, module: str = "app"
) -> AsyncIterator[list[Worker]]:
    """Start `count` worker processes, and stop those that still run when the block ends."""
    workers: list[Worker] = []
    try:
        while len(workers) < count:
            workers.append(Worker(await start_command("worker", module=module, **environment)))
        yield workers
    finally:
        for worker in workers:
            await worker.stop()


@asynccontextmanager
async def running_server(*options: str, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """Start the HTTP server, and stop it when the block ends. Yield the process and its origin.

    The origin is, for example, `http://127.0.0.1:54321`. `options` are arguments of `serve`.
    """
    process = await start_command("serve", *options, **environment)
    try:
        yield process, await wait_for_origin(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await process.communicate()


async def wait_for_origin(process: Process) -> str:
    """Read the output of a starting server until it prints its origin, and return the origin.

    The server already accepts connections by then. Raises `AssertionError` if the process ends
    without printing it.
    """
    assert process.stdout
    output = ""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for line in process.stdout:
            output += line.decode()
            if match := re.search(r"serves (http://\S+)", output):
                return match[1]
    raise AssertionError(output)


def peak_memory(process: Process) -> float:
    """Return the most memory in MiB that a process has had so far (Linux only)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
