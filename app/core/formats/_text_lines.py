"""The lines of a file, of which none takes more memory than `MAX_LINE_BYTES`."""

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

MAX_LINE_BYTES: Final = 16 * 1024  # including the line end
LINE_TOO_LONG: Final = f"is longer than {MAX_LINE_BYTES} bytes"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class InvalidLine(NamedTuple):
    """A line of a file that cannot be read, and why."""

    line_number: int
    error_message: str


def read_lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the lines of a file, without the byte order mark with which the file may begin.

    Yields None in place of each line that is longer than `MAX_LINE_BYTES`. Such a line is never
    held in memory as a whole.
    """
    is_first_line = True
    while line := file.readline(MAX_LINE_BYTES):
        # `readline` has stopped at the limit, before the end of the line.
        is_too_long = len(line) == MAX_LINE_BYTES and not line.endswith(b"\n")
        if is_too_long:
            _skip_rest_of_line(file)
            yield None
        elif is_first_line:
            yield line.removeprefix(BYTE_ORDER_MARK)
        else:
            yield line
        is_first_line = False


def _skip_rest_of_line(file: BinaryIO) -> None:
    """Read up to the end of the current line, in pieces of at most `MAX_LINE_BYTES`."""
    while piece := file.readline(MAX_LINE_BYTES):
        if piece.endswith(b"\n"):
            return
