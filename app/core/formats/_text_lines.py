"""The lines of a text, of which none takes more memory than `MAX_LINE_LENGTH` characters."""

from collections.abc import Iterator
from typing import Final, NamedTuple, TextIO

# Including the line end. The limit applies to CSV records of several lines and to the items of a
# JSON array too. The longest texts in the catalogs of others are reviews of 20,000 characters.
MAX_LINE_LENGTH: Final = 128 * 1024
LINE_TOO_LONG: Final = f"is longer than {MAX_LINE_LENGTH} characters"
_LINE_ENDS: Final = ("\n", "\r")


class InvalidLine(NamedTuple):
    """A line of a file that cannot be read, and why."""

    line_number: int
    error_message: str


def read_lines(text: TextIO) -> Iterator[str | None]:
    """Yield the lines of a text with their line ends, which are LF, CR LF or CR.

    Yields None in place of each line that is longer than `MAX_LINE_LENGTH`. Such a line is never
    held in memory as a whole.
    """
    while line := text.readline(MAX_LINE_LENGTH):
        # `readline` has stopped at the limit, before the end of the line.
        is_too_long = len(line) == MAX_LINE_LENGTH and not line.endswith(_LINE_ENDS)
        if is_too_long:
            _skip_rest_of_line(text)
            yield None
        else:
            yield line


def _skip_rest_of_line(text: TextIO) -> None:
    """Read up to the end of the current line, in pieces of at most `MAX_LINE_LENGTH`."""
    while piece := text.readline(MAX_LINE_LENGTH):
        if piece.endswith(_LINE_ENDS):
            return
