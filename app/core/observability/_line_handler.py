"""The log handler of this service, which writes each line with one system call."""

import logging
import os
from io import TextIOWrapper
from typing import Final, TextIO

# How many bytes of lines wait for a descriptor that does not accept them at the moment.
MAX_WAITING_BYTES: Final = 64 * 1024


class LineHandler(logging.Handler):
    """Writes log records as lines to a stream, by default to standard error.

    Lines of several threads and processes do not mix: `os.write` gets a whole line, which the
    kernel writes to a file in one piece, and to a pipe if it has at most 4 KiB.

    A descriptor in non-blocking mode may accept only a part of a line, or nothing. The rest then
    waits, and is written before the next line or at the end of the process. While more than
    `MAX_WAITING_BYTES` wait, new lines are lost, each of them as a whole. The same applies to a
    closed pipe and to a full disk. A full pipe in blocking mode makes the process wait, as any
    other way of logging to standard error does.

    A stream without a descriptor, for example one that a test has replaced, gets each line as text.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Create the handler. Without a stream, it writes to standard error."""
        super().__init__()
        # `logging.StreamHandler` knows the default, also if standard error is closed.
        self._stream: TextIO = logging.StreamHandler(stream).stream
        self._descriptor = _find_descriptor(self._stream)
        self._waiting_bytes = b""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Logging calls this method."""
        try:
            self.write_line(self.format(record))
        except Exception:  # noqa: BLE001 - logging never raises
            self.handleError(record)

    def write_line(self, line: str) -> None:
        """Write a line, which does not end with a newline."""
        self.acquire()
        try:
            if self._descriptor is None:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            else:
                self._write_bytes(self._descriptor, self._encode_line(line))
        finally:
            self.release()

    def flush(self) -> None:
        """Try to write the lines that wait. Logging calls this at the end of the process."""
        self.acquire()
        try:
            if self._descriptor is not None:
                self._write_bytes(self._descriptor, b"")
        finally:
            self.release()

    def _encode_line(self, line: str) -> bytes:
        """Encode a line as the stream would."""
        return f"{line}\n".encode(self._stream.encoding, self._stream.errors or "strict")

    def _write_bytes(self, descriptor: int, line: bytes) -> None:
        """Write the bytes that wait, and then a line. Keep what the descriptor does not accept."""
        unwritten = self._waiting_bytes + line
        try:
            while unwritten:
                unwritten = unwritten[os.write(descriptor, unwritten) :]
        except OSError:
            is_line_untouched = len(unwritten) >= len(line)
            if is_line_untouched and len(unwritten) > MAX_WAITING_BYTES:
                unwritten = unwritten[: len(unwritten) - len(line)]
        self._waiting_bytes = unwritten


def _find_descriptor(stream: TextIO) -> int | None:
    """Return the file descriptor of a stream, or None if it writes to something else."""
    if not isinstance(stream, TextIOWrapper):
        return None
    try:
        # Write what the stream contains already before the first line.
        stream.flush()
        return stream.fileno()
    except (OSError, ValueError):
        return None
