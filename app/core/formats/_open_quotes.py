"""Explain why the quotes of a CSV record are wrong."""

import re
from typing import Final, NamedTuple

_QUOTED_VALUE: Final = r'"(?:[^"]|"")*+"'


class QuoteError(NamedTuple):
    """The lines on which a wrong quoted value begins and ends, counted from 0.

    The value ends with the next quote. `last_line` is None if there is none.
    """

    first_line: int
    last_line: int | None


def find_quote_error(lines: list[str], delimiter: str) -> QuoteError:
    """Return which value of a record has wrong quotes. The CSV reader has refused the record.

    `lines` are the lines that the reader has taken. For example, the value that is not closed
    begins in line 1 of these lines:

        "a
        b","c
        d,e
    """
    text = "".join(lines)
    start = _find_wrong_value(text, delimiter)
    first_line = _find_line(lines, start)
    closed_value = re.compile(_QUOTED_VALUE).match(text, start)
    if closed_value is None:
        return QuoteError(first_line, None)
    return QuoteError(first_line, _find_line(lines, closed_value.end() - 1))


def _find_wrong_value(text: str, delimiter: str) -> int:
    """Return the offset of the first value whose closing quote is not followed by a delimiter."""
    escaped_delimiter = re.escape(delimiter)
    end_of_value = rf"(?=[{escaped_delimiter}\r\n]|\Z)"
    correct_value = re.compile(rf'{_QUOTED_VALUE}{end_of_value}|(?!")[^{escaped_delimiter}\r\n]*+')
    offset = 0
    value = correct_value.match(text, offset)
    while value is not None and value.end() < len(text):
        # Skip the delimiter.
        offset = value.end() + 1
        value = correct_value.match(text, offset)
    return min(offset, len(text) - 1)


def _find_line(lines: list[str], offset: int) -> int:
    """Return the index of the line that has the character at an offset of the joined lines."""
    end_of_line = 0
    for line_index, line in enumerate(lines):
        end_of_line += len(line)
        if offset < end_of_line:
            return line_index
    return len(lines) - 1
