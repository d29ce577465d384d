"""The records of a CSV file, each of which may have several lines."""

import csv
from collections.abc import Iterator
from typing import BinaryIO

from app.core.formats._text_lines import LINE_TOO_LONG, MAX_LINE_BYTES, read_lines

# The number of a line in its file, and its text. The text is None if the line is too long.
NumberedLine = tuple[int, str | None]


def read_records(file: BinaryIO) -> Iterator[tuple[int, list[str] | str]]:
    """Read the records of a CSV file, each with the number of its first line.

    A record is a list of values, or a text that says what is wrong with its first line. The lines
    that follow a wrong line are read as records of their own. Example:

        author,dob,title          1, ["author", "dob", "title"]
        Homer,,"Iliad             2, ["Homer", "", "Iliad\\nand Odyssey"]
        and Odyssey"
        Homer,,"Margites          4, "unexpected end of data", because no quote follows
        Hesiod,,Theogony          5, ["Hesiod", "", "Theogony"]
    """
    lines = _NumberedLines(file)
    for number, line in lines:
        if line is None:
            yield number, LINE_TOO_LONG
            continue
        following_lines: list[NumberedLine] = []
        # csv reads a line more for as long as a quote is open.
        reader = csv.reader(_record_lines(line, lines, following_lines), strict=True)
        try:
            values = next(reader)
        except csv.Error as error:
            lines.put_back(following_lines)
            # The text after a dash is advice for programmers, such as how to open the file.
            yield number, str(error).partition(" - ")[0]
            continue
        is_empty_line = not values
        if not is_empty_line:
            yield number, values


def _record_lines(
    first_line: str, lines: Iterator[NumberedLine], following_lines: list[NumberedLine]
) -> Iterator[str]:
    """Return the lines that one record may have, at most `MAX_LINE_BYTES` in all.

    Appends each line after the first to `following_lines` when it is read.
    """
    yield first_line
    length = len(first_line)
    for number, line in lines:
        following_lines.append((number, line))
        if line is None or length >= MAX_LINE_BYTES:
            return
        yield line
        length += len(line)


class _NumberedLines:
    """The lines of a file. Lines that were read can be put back, to be read once more."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = enumerate(read_lines(file), 1)
        # The next line is the last one.
        self._put_back: list[NumberedLine] = []

    def __iter__(self) -> Iterator[NumberedLine]:
        return self

    def __next__(self) -> NumberedLine:
        if self._put_back:
            return self._put_back.pop()
        number, line = next(self._lines)
        if line is None:
            return number, None
        # Bytes that are not UTF-8 become surrogates, which no string of a model may contain.
        return number, line.decode(errors="surrogateescape")

    def put_back(self, lines: list[NumberedLine]) -> None:
        self._put_back.extend(reversed(lines))
