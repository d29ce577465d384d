"""A pipe to which a log handler writes, in place of standard error."""

import logging
import os
from contextlib import suppress
from io import TextIOWrapper

from app.core.observability import create_log_formatter
from app.core.observability._line_handler import LineHandler


class CountingHandler(LineHandler):
    """Counts the lines that come from `logging`."""

    record_count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.record_count += 1
        super().emit(record)


class Pipe:
    """A pipe to which a handler writes."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.stream = TextIOWrapper(os.fdopen(writer, "wb"), "utf-8", errors="backslashreplace")
        self.handler = CountingHandler(self.stream)
        self.handler.setFormatter(create_log_formatter("json"))

    def read(self) -> str:
        """Return everything that was written, or an empty text."""
        chunks = []
        with suppress(BlockingIOError):
            while chunk := os.read(self.reader, 2**16):
                chunks.append(chunk)
        return b"".join(chunks).decode()

    def fill(self) -> int:
        """Write to the pipe until it is full. Return the number of bytes."""
        os.set_blocking(self.stream.fileno(), False)
        count = 0
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    count += os.write(self.stream.fileno(), b"x" * size)
        return count
