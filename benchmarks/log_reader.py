"""Reads the log of a server from a pipe, as a container runtime does, and counts its lines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep
from typing import Final

from benchmarks.cores import Cores, pin

# The maximum time until a line that was written has been read. Some servers log in a thread.
_READ_TIMEOUT_SECONDS: Final = 5.0
_CHUNK_SIZE: Final = 64 * 1024
# How many bytes of the end of the log are kept.
_KEPT_SIZE: Final = 2_000


class LogReader:
    """The pipe of a log. The server writes to the file descriptor `write_end`.

    `line_count` is the number of lines that were read.
    """

    def __init__(self, cores: Cores) -> None:
        self.line_count = 0
        self._cores = cores
        self._read_end, self.write_end = os.pipe()
        self._last_bytes = b""

    @property
    def last_lines(self) -> str:
        """The end of the log, which may say why a server has failed."""
        return self._last_bytes.decode(errors="replace")

    def read_all(self) -> None:
        """Read until all processes have closed their end of the pipe."""
        pin(self._cores)
        while chunk := os.read(self._read_end, _CHUNK_SIZE):
            self.line_count += chunk.count(b"\n")
            self._last_bytes = (self._last_bytes + chunk)[-_KEPT_SIZE:]
        os.close(self._read_end)

    def wait_for_lines(self, line_count: int) -> bool:
        """Wait until so many lines have been read. Return False after a timeout."""
        deadline = monotonic() + _READ_TIMEOUT_SECONDS
        while self.line_count < line_count:
            if monotonic() > deadline:
                return False
            sleep(0.01)
        return True


@contextmanager
def reading_log(cores: Cores) -> Iterator[LogReader]:
    """Read a pipe in a thread on these cores, until the block and all writers have ended."""
    reader = LogReader(cores)
    thread = Thread(target=reader.read_all, daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        os.close(reader.write_end)
        thread.join(_READ_TIMEOUT_SECONDS)
