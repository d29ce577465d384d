"""The program from which `forked_processes` forks: a process that has imported the service.

    python -m tests.support.process_template FILE_DESCRIPTOR

The file descriptor is a socket. Each request on it is a JSON object with the words of a command,
the environment variables of its process and the name of the module to run, together with four file
descriptors: the standard streams of the process, and a pipe for its number and its exit status.
"""

import gc
import json
import os
import runpy
import signal
import socket
import struct
import sys

# The modules that most commands import. None of them reads environment variables when it is
# imported, apart from the variables that `forked_processes.can_fork` excludes.
PRELOADED_MODULES = (
    "app.cli",
    "app.main",
    "app.cli.server",
    "uvicorn.protocols.http.httptools_impl",
)
MAX_REQUEST_SIZE = 1024 * 1024  # bytes
NUMBER = struct.Struct("i")


def main() -> None:
    """Import the modules, and start a process for each request until the socket is closed."""
    # Objects that are not frozen would be copied by the first garbage collection of each process.
    gc.disable()
    for module in PRELOADED_MODULES:
        __import__(module)
    gc.freeze()
    # A terminal sends Ctrl-C to all processes, but this one ends with the tests.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The system removes the processes that wait, because nothing waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_SIZE, 4)
            if not request:
                return
            if os.fork() == 0:
                requests.close()
                break
            for descriptor in descriptors:
                os.close(descriptor)
    start_process(json.loads(request), descriptors)


def start_process(request: dict[str, object], descriptors: list[int]) -> None:
    """Fork once more, run the command in the new process, and report how it ends.

    Returns in the new process after the command, so that Python ends the process as usual.
    """
    *streams, status_pipe = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process_id = os.fork()
    if process_id == 0:
        os.close(status_pipe)
        run_command(request, streams)
        return
    for descriptor in (0, 1, 2, *streams):
        os.close(descriptor)
    os.write(status_pipe, NUMBER.pack(process_id))
    _, status = os.waitpid(process_id, 0)
    os.write(status_pipe, NUMBER.pack(status))
    os._exit(0)


def run_command(request: dict[str, object], streams: list[int]) -> None:
    """Run `python -m MODULE WORDS` in this process, with other streams and variables."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The objects that exist already have looked at the former streams.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    module = str(request["module"])
    sys.argv = [module, *request["words"]]  # type: ignore[misc]
    gc.enable()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
