"""The records of a CSV file, each of which may have several lines."""

import csv
from collections.abc import Iterator
from typing import BinaryIO

from app.core.formats._text_lines import LINE_TOO_LONG, MAX_LINE_BYTES, read_lines

# The number of a line in its file, and its text. The text is None if the line is too long.
NumberedLine = tuple[int, str | None]


def read_records(file: BinaryIO) -> Iterator[tuple[int, list[str] | str]]:
    """Read the records of a CSV file. Return each with the number of its first line.

    A record is a list of values, or an error message if its first line is invalid. After an invalid
    line, reading continues with the next line. Example of a file and its records:

        author,dob,title          1, ["author", "dob", "title"]
        Homer,,"Iliad             2, ["Homer", "", "Iliad\\nand Odyssey"]
        and Odyssey"
        Homer,,"Margites          4, "unexpected end of data", because no quote follows
        Hesiod,,Theogony          5, ["Hesiod", "", "Theogony"]
    """
    numbered_lines = _NumberedLines(file)
    for line_number, line in numbered_lines:
        if line is None:
            yield line_number, LINE_TOO_LONG
            continue
        following_lines: list[NumberedLine] = []
        # The reader takes further lines for as long as a quote is open.
        reader = csv.reader(_record_lines(line, numbered_lines, following_lines), strict=True)
        try:
            values = next(reader)
        except csv.Error as error:
            numbered_lines.put_back(following_lines)
            # The message may have a dash and advice for programmers, such as how to open the file.
            message, _, _ = str(error).partition(" - ")
            yield line_number, message
            continue
        is_empty_line = not values
        if not is_empty_line:
            yield line_number, values


def _record_lines(
    first_line: str, numbered_lines: Iterator[NumberedLine], following_lines: list[NumberedLine]
) -> Iterator[str]:
    """Return the lines that may belong to one record: a line and those that follow it in the file.

    Ends when the lines exceed `MAX_LINE_BYTES` in all, because a quote may never be closed. Appends
    each line that was read after the first to `following_lines`.
    """
    yield first_line
    total_length = len(first_line)
    for line_number, line in numbered_lines:
        following_lines.append((line_number, line))
        if line is None or total_length >= MAX_LINE_BYTES:
            return
        yield line
        total_length += len(line)


class _NumberedLines:
    """Iterator over the numbered lines of a file. Lines can be put back to be read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = enumerate(read_lines(file), 1)
        # A stack: the line that is read next is the last one.
        self._lines_put_back: list[NumberedLine] = []

    def __iter__(self) -> Iterator[NumberedLine]:
        return self

    def __next__(self) -> NumberedLine:
        if self._lines_put_back:
            return self._lines_put_back.pop()
        line_number, line = next(self._lines)
        if line is None:
            return line_number, None
        # Bytes that are not UTF-8 become lone surrogates, which the models reject.
        return line_number, line.decode(errors="surrogateescape")

    def put_back(self, numbered_lines: list[NumberedLine]) -> None:
        """Return these lines again, in the same order, before the rest of the file."""
        self._lines_put_back.extend(reversed(numbered_lines))
