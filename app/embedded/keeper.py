"""Keeps an embedded server running until no process uses it any more.

This is a program, which `SharedServer` starts, and not a module to import:

    python -I -S keeper.py SERVER_FILES LINGER_SECONDS COMMAND...

SERVER_FILES is the path of the server's files without extension, for example `.data/postgres`. The
command is that of the server. The program uses only the standard library, without the packages of
the environment, so that it starts in 20 milliseconds.

The process that starts the keeper holds the other ends of its standard input and output, and every
process that uses the server holds a shared lock on SERVER_FILES.users. The operating system closes
files and releases locks also if a process is killed.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Final, TextIO

# A server that takes longer to stop is ended immediately. Postgres then recovers at its next start.
STOP_TIMEOUT_SECONDS: Final = 5.0


def main() -> None:
    """Run the server until its last user has ended, and a little longer (LINGER_SECONDS)."""
    server_files, linger_seconds, *command = sys.argv[1:]
    # Held as long as this process lives. Other processes see by it that the server is running.
    running_file = open(f"{server_files}.running", "w")  # noqa: SIM115, PTH123
    fcntl.flock(running_file, fcntl.LOCK_EX)
    # A shell starts commands in the background with these signals ignored, and the server would
    # inherit that. It does not inherit a handler.
    for signal_number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(signal_number, lambda *_: None)
    # The output of a server goes to its log, which is the standard error of this process.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    threading.Thread(target=_exit_after, args=(server,), daemon=True).start()

    # The input ends when the process that has started the server no longer uses it.
    sys.stdin.read()
    with open(f"{server_files}.users") as users_file:  # noqa: PTH123
        is_unused = float(linger_seconds) == 0 and _try_lock(users_file)
        if not is_unused:
            # Tell that process that it need not wait until the server has stopped. If it was
            # killed, nobody reads the output.
            with suppress(BrokenPipeError):
                os.write(sys.stdout.fileno(), b"shared")
            os.close(sys.stdout.fileno())
            _wait_until_unused(users_file, float(linger_seconds))
        # New users wait for the lock until the server has stopped, and then start another one.
        _stop(server)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Stop the server. If it does not react to SIGINT, end it as a crash would.

    Postgres 18 hangs if the signal arrives while it recovers from a crash.
    """
    for signal_number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_SECONDS)
            return


def _exit_after(server: subprocess.Popen[bytes]) -> None:
    """Wait until the server ends, for whatever reason, and then end this process."""
    os._exit(server.wait())


def _wait_until_unused(users_file: TextIO, linger_seconds: float) -> None:
    """Return with the lock when no process has used the server for a while."""
    is_unused = False
    while not is_unused:
        fcntl.flock(users_file, fcntl.LOCK_EX)
        fcntl.flock(users_file, fcntl.LOCK_UN)
        time.sleep(linger_seconds)
        is_unused = _try_lock(users_file)


def _try_lock(users_file: TextIO) -> bool:
    """Lock the file. Return False if a process uses the server."""
    try:
        fcntl.flock(users_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main()
