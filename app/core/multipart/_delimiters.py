"""Find the delimiters of a multipart body.

A delimiter is the end of a line, two hyphens and the boundary, followed by two more hyphens, which
end the form, or by at most 256 blanks and CR LF. A line that goes on in another way is content.
"""

import re
from enum import Enum, auto
from typing import Final

CRLF: Final = b"\r\n"
# A delimiter after its boundary: the two hyphens that end the form, or blanks and the end of the
# line. At the end of the data, it may also be the beginning of one of them.
_LINE_END: Final = rb"(?:(?P<end_of_form>--)|[ \t]{0,256}+(?:(?P<next_part>(?=\r\n))|\r?\Z)|-\Z)"
_LINE_END_PATTERN: Final = re.compile(_LINE_END)


class LineEnd(Enum):
    """How the line of a delimiter ends."""

    NEXT_PART = auto()
    END_OF_FORM = auto()
    # More bytes have to arrive.
    UNKNOWN = auto()


def find_delimiter(data: bytes, position: int, delimiter: bytes) -> tuple[int, LineEnd, int]:
    """Find the first delimiter from `position` on.

    Returns its start, how its line ends, and its end. If the data contains no delimiter, the line
    end is unknown, and the start is that of the last bytes that may be the beginning of one, or the
    end of the data.

    The end is that of the boundary and of the blanks after it, so the CR LF of a line follows.
    """
    start = data.find(delimiter, position)
    if start == -1:
        return _find_incomplete_delimiter(data, position, delimiter)
    match = _LINE_END_PATTERN.match(data, start + len(delimiter))
    if match is None:
        # The line goes on with other text, so it is content. Search the rest with a regular
        # expression, because a loop takes 11 s for 100 MiB of such lines. It is only compiled for
        # such content, because this takes 0.1 ms.
        match = re.compile(re.escape(delimiter) + _LINE_END).search(data, start)
        if match is None:
            return _find_incomplete_delimiter(data, position, delimiter)
        start = match.start()
    line_end = LineEnd.UNKNOWN
    if match["next_part"] is not None:
        line_end = LineEnd.NEXT_PART
    if match["end_of_form"] is not None:
        line_end = LineEnd.END_OF_FORM
    return start, line_end, match.end()


def _find_incomplete_delimiter(
    data: bytes, position: int, delimiter: bytes
) -> tuple[int, LineEnd, int]:
    """Find the last bytes that may be the beginning of a delimiter, or the end of the data.

    Returns the same as `find_delimiter`.
    """
    earliest_start = max(position, len(data) - len(delimiter) + 1)
    # A delimiter contains its first byte, CR or LF, only once.
    start = data.rfind(delimiter[:1], earliest_start)
    if start == -1 or not delimiter.startswith(data[start:]):
        start = len(data)
    return start, LineEnd.UNKNOWN, start
