"""Runs several processes that share one listening socket, and replaces those that die.

On Linux, the processes are forks of the supervisor, which has imported the whole service and has
neither threads nor an event loop nor connections. They start within a tenth of a second, and share
the memory of what has been imported.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Final, Protocol

from app.cli.child_processes import freeze_memory, get_process_context, start_process
from app.core.observability import count_replaced_process
from app.worker import STOP_SIGNALS

# A process that dies is replaced after this time, so that a process that dies immediately is not
# started again and again without a pause.
REPLACEMENT_DELAY_SECONDS: Final = 0.5
# Processes exit by themselves before this time is over (see `EXIT_TIMEOUT_SECONDS` of the server).
# Those that are frozen are killed, so that a shutdown takes less than ten seconds in total.
KILL_TIMEOUT_SECONDS: Final = 8.5
# The exit code with which uvicorn reports that the application has failed to start.
STARTUP_FAILURE: Final = 3
LISTENING_POLL_SECONDS: Final = 0.05
log = logging.getLogger(__name__)

# The function that a process runs. It has to be importable, because it may be pickled. It has to
# call `accept_stop_signal` when it has a handler of SIGTERM.
ProcessTarget = Callable[[socket.socket, "SupervisorLink"], None]


class Closable(Protocol):
    """A socket or a pipe."""

    def close(self) -> None: ...


class SupervisorLink:
    """The end of a pipe by which a server process learns that all processes have to stop.

    The pipe is closed if the supervisor stops, and also if it is killed.
    """

    def __init__(self, connection: Connection) -> None:
        """Create the link. The supervisor never writes to the pipe of `connection`."""
        self._connection = connection

    def is_closed(self) -> bool:
        """Return whether the supervisor has told all processes to stop, or has died."""
        return self._connection.poll()

    def accept_stop_signal(self) -> None:
        """Receive SIGTERM from now on. Start a thread that sends it when the pipe is closed.

        A SIGTERM that has arrived since the start of the process is received now.
        """
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait_and_stop, daemon=True).start()

    def _wait_and_stop(self) -> None:
        """Wait until the pipe is closed, and then stop this process."""
        self._connection.poll(None)
        os.kill(os.getpid(), signal.SIGTERM)


class Supervisor:
    """Starts server processes, and stops them when this process receives a stop signal.

    uvicorn has a supervisor as well. It notices a signal only after it has asked each process
    whether it responds, and then waits for the processes without a limit.
    """

    def __init__(
        self,
        targets: Sequence[ProcessTarget],
        listener: socket.socket,
        on_listening: Callable[[], None],
    ) -> None:
        """Create a supervisor, and replace the handlers of the stop signals.

        Args:
            targets: The function of each process.
            listener: The socket on which the processes accept connections. The first one that has
                started begins to listen.
            on_listening: Called when clients can connect.
        """
        self._targets = targets
        self._listener = listener
        self._on_listening = on_listening
        self._context = get_process_context()
        self._processes: list[BaseProcess] = []
        self._pipe_reader, self._pipe_writer = self._context.Pipe(duplex=False)

        # Python writes the number of each signal that arrives to this socket.
        self._signal_reader, self._signal_writer = socket.socketpair()
        self._signal_writer.settimeout(0)
        signal.set_wakeup_fd(self._signal_writer.fileno())
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, lambda *_: None)

    def run(self) -> None:
        """Run the processes until a stop signal arrives, and then stop them.

        Exits this process with code 3 if the application cannot start.
        """
        freeze_memory()
        try:
            for target in self._targets:
                self._processes.append(self._start_process(target))
            if self._wait_until_listening():
                self._on_listening()
                self._replace_dead_processes_until_signal()
        finally:
            self._stop_processes()
            signal.set_wakeup_fd(-1)

    def _start_process(self, target: ProcessTarget) -> BaseProcess:
        """Start a process. It ends with the supervisor."""
        inherited: tuple[Closable, ...] = ()
        if self._context.get_start_method() == "fork":
            inherited = (self._pipe_writer, self._signal_reader, self._signal_writer)
        link = SupervisorLink(self._pipe_reader)
        return start_process(self._context, _run_process, target, self._listener, link, inherited)

    def _wait_until_listening(self) -> bool:
        """Wait until clients can connect. Return False if a stop signal arrives first.

        Raises `SystemExit` if a process dies, because the application cannot start.
        """
        while not self._is_listening():
            if self._wait_for_signals(LISTENING_POLL_SECONDS):
                return False
            if not all(process.is_alive() for process in self._processes):
                log.error("a server process died before it accepted connections")
                raise SystemExit(STARTUP_FAILURE)
        return True

    def _is_listening(self) -> bool:
        """Return whether a process has begun to listen on the socket, which all of them share."""
        return bool(self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    def _replace_dead_processes_until_signal(self) -> None:
        """Replace each process that dies, until a stop signal arrives.

        Raises `SystemExit` if a process has died because the application cannot start.
        """
        while not self._wait_for_signals(watched_processes=self._processes):
            if any(process.exitcode == STARTUP_FAILURE for process in self._processes):
                raise SystemExit(STARTUP_FAILURE)
            if self._wait_for_signals(REPLACEMENT_DELAY_SECONDS):
                return
            for index, process in enumerate(self._processes):
                if not process.is_alive():
                    log.warning("server process %s died and is replaced", process.pid)
                    count_replaced_process()
                    self._processes[index] = self._start_process(self._targets[index])

    def _stop_processes(self) -> None:
        """Stop all processes. Kill them if they do not exit in time, or after another Ctrl-C."""
        deadline = monotonic() + KILL_TIMEOUT_SECONDS
        if not self._is_listening():
            # Processes that are still starting notice only a signal.
            for process in self._processes:
                process.terminate()
        # The processes close the socket too. While one of them has it open, it accepts connections.
        self._listener.close()
        self._pipe_writer.close()
        while running_processes := [each for each in self._processes if each.is_alive()]:
            remaining_seconds = deadline - monotonic()
            signal_numbers = self._wait_for_signals(max(0, remaining_seconds), running_processes)
            if remaining_seconds <= 0 or signal.SIGINT in signal_numbers:
                for process in running_processes:
                    log.error("server process %s is killed", process.pid)
                    process.kill()
                    process.join()

    def _wait_for_signals(
        self, timeout_seconds: float | None = None, watched_processes: Sequence[BaseProcess] = ()
    ) -> bytes:
        """Wait for a signal, or until one of the watched processes exits.

        Returns the numbers of the signals that have arrived. Returns b"" if a process has exited or
        the time is over.
        """
        sentinels = [process.sentinel for process in watched_processes]
        ready = wait([self._signal_reader, *sentinels], timeout_seconds)
        if self._signal_reader not in ready:
            return b""
        return self._signal_reader.recv(64)


def _run_process(
    target: ProcessTarget,
    listener: socket.socket,
    link: SupervisorLink,
    inherited: Sequence[Closable],
) -> None:
    """Run the function of a process, without the pipes and sockets of the supervisor.

    Otherwise, a process would receive the signals of the supervisor, and could not notice its end.
    """
    signal.set_wakeup_fd(-1)
    for closable in inherited:
        closable.close()
    target(listener, link)
