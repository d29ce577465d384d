"""Runs several server processes that share one listening socket, and replaces those that die."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any, Final

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
SIGNALS_OF_TERMINAL: Final = {signal.SIGINT, signal.SIGHUP}
log = logging.getLogger(__name__)

# The function that a server process runs. It has to be importable, because it is pickled.
ProcessTarget = Callable[[socket.socket, "SupervisorLink"], None]


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

    def stop_process_when_closed(self) -> None:
        """Start a thread that sends SIGTERM to this process when the pipe is closed."""
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
        target: ProcessTarget,
        listener: socket.socket,
        process_count: int,
        on_listening: Callable[[], None],
    ) -> None:
        """Create a supervisor, and replace the handlers of the stop signals.

        Args:
            target: The function that each server process runs.
            listener: The socket on which all processes accept connections. The first one that has
                started begins to listen.
            process_count: The number of processes.
            on_listening: Called when clients can connect.
        """
        self._target = target
        self._listener = listener
        self._process_count = process_count
        self._on_listening = on_listening
        self._context: Any = multiprocessing.get_context("spawn")
        self._processes: list[SpawnProcess] = []
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
        try:
            while len(self._processes) < self._process_count:
                self._processes.append(self._start_process())
            if self._wait_until_listening():
                self._on_listening()
                self._replace_dead_processes_until_signal()
        finally:
            self._stop_processes()
            signal.set_wakeup_fd(-1)

    def _start_process(self) -> SpawnProcess:
        """Start a server process that is deaf to Ctrl-C and to the end of the terminal.

        A terminal sends these signals to all processes, but the supervisor stops the processes.
        """
        arguments = (self._listener, SupervisorLink(self._pipe_reader))
        process: SpawnProcess = self._context.Process(target=self._target, args=arguments)
        # The new process inherits the signals that are blocked. Signals that arrive at this process
        # meanwhile are delivered when they are no longer blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS_OF_TERMINAL)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_TERMINAL)
        return process

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
                    self._processes[index] = self._start_process()

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
        self, timeout_seconds: float | None = None, watched_processes: Sequence[SpawnProcess] = ()
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
