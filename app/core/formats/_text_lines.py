"""The lines of a file, none of which takes more memory than `MAX_LINE_BYTES`."""

from collections.abc import Iterator
from typing import BinaryIO, Final

MAX_LINE_BYTES: Final = 16 * 1024  # bytes, with the line end
LINE_TOO_LONG: Final = f"is longer than {MAX_LINE_BYTES} bytes"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Read a file line by line. A line that is too long is None, and is not held in memory."""
    is_first = True
    while line := file.readline(MAX_LINE_BYTES):
        is_whole = len(line) < MAX_LINE_BYTES or line.endswith(b"\n")
        if not is_whole:
            _skip_rest_of_line(file)
            yield None
        elif is_first:
            yield line.removeprefix(BYTE_ORDER_MARK)
        else:
            yield line
        is_first = False


def _skip_rest_of_line(file: BinaryIO) -> None:
    while piece := file.readline(MAX_LINE_BYTES):
        if piece.endswith(b"\n"):
            return
