"""Find the delimiters of a multipart body: the lines that begin with its boundary."""

import re
from enum import Enum, auto
from typing import Final

CRLF: Final = b"\r\n"
# The blanks that may follow a boundary on its line.
_PADDING: Final = re.compile(rb"[ \t]{0,256}+")


class LineEnd(Enum):
    """How the line goes on that begins with the boundary."""

    NEXT_PART = auto()
    END_OF_FORM = auto()
    # The line does not end after the boundary, so it is ordinary content.
    NOT_A_DELIMITER = auto()
    # More bytes have to arrive.
    UNKNOWN = auto()


def find_delimiter(data: bytes, position: int, delimiter: bytes) -> tuple[int, LineEnd, int]:
    """Find the first delimiter from `position` on.

    Returns its start, how its line ends, and its end. If the data contains no delimiter, the line
    end is unknown, and the start is that of the last bytes that may be the beginning of one, or the
    end of the data.

    The end is that of the boundary and of the blanks after it, so the CR LF of a line follows.
    """
    while True:
        start = data.find(delimiter, position)
        if start == -1:
            start = _find_incomplete_delimiter(data, position, delimiter)
            return start, LineEnd.UNKNOWN, start
        boundary_end = start + len(delimiter)
        line_end, end = _read_line_end(data, boundary_end)
        if line_end is not LineEnd.NOT_A_DELIMITER:
            return start, line_end, end
        position = boundary_end


def _find_incomplete_delimiter(data: bytes, position: int, delimiter: bytes) -> int:
    """Return where a delimiter may begin that the next chunk completes, or the end of the data."""
    earliest_start = max(position, len(data) - len(delimiter) + 1)
    # A delimiter contains its first byte, CR or LF, only once.
    start = data.rfind(delimiter[:1], earliest_start)
    if start != -1 and delimiter.startswith(data[start:]):
        return start
    return len(data)


def _read_line_end(data: bytes, position: int) -> tuple[LineEnd, int]:
    """Return how the line ends whose boundary ends at `position`, and the end of its blanks."""
    if data.startswith(b"--", position):
        return LineEnd.END_OF_FORM, position + 2
    end = position
    if match := _PADDING.match(data, position):
        end = match.end()
    next_bytes = data[end : end + len(CRLF)]
    if next_bytes == CRLF:
        return LineEnd.NEXT_PART, end
    is_incomplete = next_bytes in {b"", b"\r"} or (next_bytes == b"-" and end == position)
    if is_incomplete:
        return LineEnd.UNKNOWN, end
    return LineEnd.NOT_A_DELIMITER, end
