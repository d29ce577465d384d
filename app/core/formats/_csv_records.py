"""The records of a CSV file, each of which may have several lines."""

import csv
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from app.core.formats._text_lines import LINE_TOO_LONG, MAX_LINE_BYTES, InvalidLine, read_lines


class CsvRecord(NamedTuple):
    """The values of one record of a CSV file, and the number of its first line."""

    line_number: int
    values: list[str]


class NumberedLine(NamedTuple):
    """A line of a file. The text is None if the line is longer than `MAX_LINE_BYTES`."""

    line_number: int
    text: str | None


def read_records(file: BinaryIO) -> Iterator[CsvRecord | InvalidLine]:
    """Yield the records of a CSV file. A record has several lines if a value contains line breaks.

    Reading continues after an invalid line. Example of a file, and what is yielded for each line:

        author,dob,title      CsvRecord(1, ["author", "dob", "title"])
        Homer,,"Iliad         CsvRecord(2, ["Homer", "", "Iliad\\nand Odyssey"])
        and Odyssey"
        Homer,,"Margites      InvalidLine(4, "unexpected end of data"): the quote is never closed
        Hesiod,,Theogony      CsvRecord(5, ["Hesiod", "", "Theogony"])
    """
    line_reader = _LineReader(file)
    for line_number, text in line_reader:
        if text is None:
            yield InvalidLine(line_number, LINE_TOO_LONG)
            continue

        # The CSV reader takes more lines than the first one for as long as a quote is open.
        following_lines: list[NumberedLine] = []
        csv_reader = csv.reader(_record_lines(text, line_reader, following_lines), strict=True)
        try:
            values = next(csv_reader)
        except csv.Error as error:
            # Only the first line is invalid. The following lines may be records of their own.
            line_reader.put_back(following_lines)
            # The message may end with a dash and advice on how to call `open`.
            error_message, _, _ = str(error).partition(" - ")
            yield InvalidLine(line_number, error_message)
            continue

        is_empty_line = not values
        if not is_empty_line:
            yield CsvRecord(line_number, values)


def _record_lines(
    first_line: str, line_reader: Iterator[NumberedLine], following_lines: list[NumberedLine]
) -> Iterator[str]:
    """Yield the first line of a CSV record, and then the lines that follow it in the file.

    Each following line is also appended to `following_lines`, so that the caller can put it back.
    Stops at `MAX_LINE_BYTES` in total, in case the record has a quote that is never closed.
    """
    yield first_line
    total_length = len(first_line)
    for following_line in line_reader:
        following_lines.append(following_line)
        if following_line.text is None or total_length >= MAX_LINE_BYTES:
            return
        yield following_line.text
        total_length += len(following_line.text)


class _LineReader:
    """Iterator over the numbered lines of a file. Lines can be put back to be read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._numbered_lines = enumerate(read_lines(file), 1)
        # A stack, whose last line is read next.
        self._lines_put_back: list[NumberedLine] = []

    def __iter__(self) -> Iterator[NumberedLine]:
        return self

    def __next__(self) -> NumberedLine:
        """Return the next line: the first that was put back, otherwise the next of the file."""
        if self._lines_put_back:
            return self._lines_put_back.pop()
        line_number, line = next(self._numbered_lines)
        if line is None:
            return NumberedLine(line_number, None)
        # Bytes that are not UTF-8 become lone surrogates, which the models reject.
        return NumberedLine(line_number, line.decode(errors="surrogateescape"))

    def put_back(self, lines: list[NumberedLine]) -> None:
        """Put back the lines that were read last, so that they are read again in this order."""
        self._lines_put_back.extend(reversed(lines))
