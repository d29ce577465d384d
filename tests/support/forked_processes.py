"""Start processes of the command line that do not import the service again.

Importing the service takes about a second of CPU time, and the suite starts hundreds of servers and
commands. Therefore, each pytest process starts one template process that has imported it
(`process_template`), and which is forked for each command.

A command that is started in this way behaves like a new Python process, except that the modules
have been imported before its environment variables were set. `can_fork` excludes the variables that
modules read when they are imported. TEST_FORKED_PROCESSES=false starts all processes in the usual
way.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.base_subprocess import BaseSubprocessTransport
from asyncio.subprocess import PIPE, STDOUT, Process, SubprocessStreamProtocol
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.support.process_template import NUMBER

_LINE_LIMIT = 2**16  # bytes, the default of asyncio


def can_fork(environment: Mapping[str, str], streams: Sequence[int | None]) -> bool:
    """Return whether a process with these variables and streams can be forked from the template.

    Python itself reads variables at its start, and looks whether its streams are terminals.
    """
    if sys.platform != "linux" or os.environ.get("TEST_FORKED_PROCESSES") == "false":
        return False
    variables = {name for name in environment if name.startswith(("PYTHON", "OTEL_"))}
    has_terminal = any(
        stream is not None and stream >= 0 and os.isatty(stream) for stream in streams
    )
    return variables <= {"PYTHONPATH"} and not has_terminal


async def start_forked_process(
    module: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int | None,
    stdout: int | None,
    stderr: int | None,
) -> Process:
    """Run `python -m MODULE WORDS` in a process that is forked from the template.

    The arguments and the result are those of `asyncio.create_subprocess_exec`.
    """
    loop = asyncio.get_running_loop()
    protocol = SubprocessStreamProtocol(_LINE_LIMIT, loop)
    is_connected = loop.create_future()
    transport = _ForkedProcessTransport(
        loop,
        protocol,
        (module, *words),
        shell=False,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        waiter=is_connected,
        environment=environment,
    )
    await is_connected
    return Process(transport, protocol, loop)


class _ForkedProcessTransport(BaseSubprocessTransport):
    """The asyncio transport of a process that is not a child of this process."""

    _proc: Any  # a _ForkedProcess
    _forked_process: "_ForkedProcess"

    def _start(
        self,
        args: Any,
        shell: bool,  # noqa: ARG002 - part of the method of asyncio
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,  # noqa: ARG002
        **options: Any,
    ) -> None:
        """Start the process. asyncio calls this method when the transport is created."""
        module, *words = args
        request = {"module": module, "words": words, "environment": dict(options["environment"])}
        self._forked_process = _ForkedProcess(request, stdin, stdout, stderr)
        self._proc = self._forked_process
        loop = asyncio.get_running_loop()
        loop.add_reader(self._forked_process.status_pipe, self._report_exit, loop)

    def _report_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._forked_process.status_pipe)
        returncode = self._forked_process.read_returncode()
        # Let the output that the process has written arrive first, as asyncio does.
        loop.call_soon(self._process_exited, returncode)


class _ForkedProcess:
    """A process that is forked from the template, with the interface of `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(
        self,
        request: Mapping[str, object],
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
    ) -> None:
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        own_descriptors = []
        input_descriptor = 0 if stdin is None else stdin
        if stdin == PIPE:
            input_descriptor, write_end = os.pipe()
            self.stdin = os.fdopen(write_end, "wb", 0)
            own_descriptors.append(input_descriptor)
        output_descriptor = 1 if stdout is None else stdout
        if stdout == PIPE:
            read_end, output_descriptor = os.pipe()
            self.stdout = os.fdopen(read_end, "rb", 0)
            own_descriptors.append(output_descriptor)
        error_descriptor = 2 if stderr is None else stderr
        if stderr == PIPE:
            read_end, error_descriptor = os.pipe()
            self.stderr = os.fdopen(read_end, "rb", 0)
            own_descriptors.append(error_descriptor)
        elif stderr == STDOUT:
            error_descriptor = output_descriptor
        self.status_pipe, status_write_end = os.pipe()
        own_descriptors.append(status_write_end)
        socket.send_fds(
            _start_template().socket,
            [json.dumps(request).encode()],
            [input_descriptor, output_descriptor, error_descriptor, status_write_end],
        )
        for descriptor in own_descriptors:
            os.close(descriptor)
        self.pid = self._read_number()

    def read_returncode(self) -> int:
        """Return the exit code, or the negative number of a signal, after the process has ended."""
        self.returncode = os.waitstatus_to_exitcode(self._read_number())
        os.close(self.status_pipe)
        return self.returncode

    def _read_number(self) -> int:
        number: int
        (number,) = NUMBER.unpack(os.read(self.status_pipe, NUMBER.size))
        return number

    def poll(self) -> int | None:
        """Return the exit code if the end of the process has been noticed."""
        return self.returncode

    def send_signal(self, signal_number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal_number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Template(NamedTuple):
    """The process that is forked, and the socket for requests to it."""

    process: subprocess.Popen[bytes]
    socket: socket.socket


@cache
def _start_template() -> _Template:
    """Start the template process. It ends when this process ends, which closes the socket."""
    project_root = Path(__file__).parents[2]
    own_end, template_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    variables = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with template_end:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.process_template", str(template_end.fileno())],
            cwd=project_root / "tests",
            env={**variables, "PYTHONPATH": str(project_root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[template_end.fileno()],
        )
    return _Template(process, own_end)
