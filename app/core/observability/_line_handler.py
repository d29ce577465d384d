"""The log handler of this service, which writes each line with one system call."""

import logging
import os
import sys
from contextlib import suppress
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
    closed stream or pipe and to a full disk. A full pipe in blocking mode makes the process wait,
    as any other way of logging to standard error does.

    A stream without a descriptor, for example one that a test has replaced, gets each line as text.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Create the handler. Without a stream, it writes to standard error."""
        super().__init__()
        # Python has no `sys.stderr` if the process was started without standard error.
        self._stream: TextIO | None = sys.stderr if stream is None else stream
        self.has_descriptor: Final = _has_descriptor(self._stream)
        self._waiting_bytes = b""
        # The process to which the bytes that wait belong.
        self._process_id = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Logging calls this method."""
        try:
            self.write_line(self.format(record))
        except Exception:  # noqa: BLE001 - logging never raises
            self.handleError(record)

    def write_line(self, line: str) -> None:
        """Write a line, which does not end with a newline.

        This raises an error only if the stream has no descriptor.
        """
        self.acquire()
        try:
            if self._stream is None:
                return
            if self.has_descriptor:
                self._write_bytes(self._stream, _encode_line(line, self._stream.encoding))
            else:
                self._stream.write(f"{line}\n")
                self._stream.flush()
        finally:
            self.release()

    def flush(self) -> None:
        """Try to write the lines that wait. Logging calls this at the end of the process."""
        self.acquire()
        try:
            if self._stream is not None and self.has_descriptor:
                self._write_bytes(self._stream, b"")
        finally:
            self.release()

    def _write_bytes(self, stream: TextIO, line: bytes) -> None:
        """Write the bytes that wait, and then a line. Keep what the descriptor does not accept."""
        unwritten = self._take_waiting_bytes() + line
        try:
            # Ask the stream each time: after it is closed, another file may have the descriptor.
            descriptor = stream.fileno()
            while unwritten:
                unwritten = unwritten[os.write(descriptor, unwritten) :]
        except (OSError, ValueError):
            is_line_untouched = len(unwritten) >= len(line)
            if is_line_untouched and len(unwritten) > MAX_WAITING_BYTES:
                unwritten = unwritten[: len(unwritten) - len(line)]
        self._waiting_bytes = unwritten
        if unwritten:
            self._process_id = os.getpid()

    def _take_waiting_bytes(self) -> bytes:
        """Return the bytes that wait, except for those of the process that has forked this one."""
        if self._waiting_bytes and self._process_id != os.getpid():
            return b""
        return self._waiting_bytes


def _encode_line(line: str, encoding: str) -> bytes:
    """Encode a line. Characters that the encoding does not have are escaped."""
    return f"{line}\n".encode(encoding, "backslashreplace")


def _has_descriptor(stream: TextIO | None) -> bool:
    """Return whether a stream writes text to a file descriptor, and not to something else."""
    if not isinstance(stream, TextIOWrapper):
        return False
    with suppress(OSError, ValueError):
        # Write what the stream contains already before the first line.
        stream.flush()
    try:
        stream.fileno()
    except (OSError, ValueError):
        return False
    return True
