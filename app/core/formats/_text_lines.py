"""The lines of a file, of which none takes more memory than `MAX_LINE_BYTES`."""

from collections.abc import Iterator
from typing import BinaryIO, Final

MAX_LINE_BYTES: Final = 16 * 1024  # including the line end
LINE_TOO_LONG: Final = f"is longer than {MAX_LINE_BYTES} bytes"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Read a file line by line, without a byte order mark at its beginning.

    A line longer than `MAX_LINE_BYTES` is skipped without holding it in memory, and None is
    returned in its place.
    """
    is_first_line = True
    while line := file.readline(MAX_LINE_BYTES):
        is_complete = len(line) < MAX_LINE_BYTES or line.endswith(b"\n")
        if not is_complete:
            _skip_rest_of_line(file)
            yield None
        elif is_first_line:
            yield line.removeprefix(BYTE_ORDER_MARK)
        else:
            yield line
        is_first_line = False


def _skip_rest_of_line(file: BinaryIO) -> None:
    """Read up to the next line end, a piece of at most `MAX_LINE_BYTES` at a time."""
    while piece := file.readline(MAX_LINE_BYTES):
        if piece.endswith(b"\n"):
            return
