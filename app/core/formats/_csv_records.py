"""The records of a CSV file, each of which may have several lines."""

import csv
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from app.core.formats._open_quotes import find_quote_error
from app.core.formats._text_files import TextFile
from app.core.formats._text_lines import LINE_TOO_LONG, MAX_LINE_LENGTH, InvalidLine, read_lines

DEFAULT_DELIMITER: Final = ","
_QUOTE_ADVICE: Final = 'write a quote inside a quoted value twice ("")'


class CsvRecord(NamedTuple):
    """The values of one record of a CSV file, and the number of its first line."""

    line_number: int
    values: list[str]


class NumberedLine(NamedTuple):
    """A line of a file. The text is None if the line is longer than `MAX_LINE_LENGTH`."""

    line_number: int
    text: str | None


class CsvRecords:
    """Iterator over the records of a CSV file. Records can be put back to be read again.

    A record has several lines if a value contains line breaks. Blank records are skipped: lines
    without text, and lines of only delimiters, which spreadsheet programs write for empty rows.

    Reading continues after an invalid line. Example of a file, and what is returned for each line:

        author,dob,title      CsvRecord(1, ["author", "dob", "title"])
        Homer,,"Iliad         CsvRecord(2, ["Homer", "", "Iliad\\nand Odyssey"])
        and Odyssey"
        Homer,,"Margites      InvalidLine(4, "begins a quoted value that is never closed")
        Hesiod,,Theogony      CsvRecord(5, ["Hesiod", "", "Theogony"])

    The attribute `delimiter` may be changed between two records.
    """

    def __init__(self, file: TextFile) -> None:
        self.delimiter = DEFAULT_DELIMITER
        self._file = file
        self._lines = _LineReader(file)
        # The lines of the last record, from the first one on.
        self._lines_of_record: list[NumberedLine] = []

    def __iter__(self) -> Iterator[CsvRecord | InvalidLine]:
        return self

    def __next__(self) -> CsvRecord | InvalidLine:
        """Return the next record that is not blank, or an invalid line."""
        for line in self._lines:
            record = self._parse_record(line)
            if isinstance(record, InvalidLine) or any(record.values):
                return record
        raise StopIteration

    def read_separator_line(self, pattern: re.Pattern[str]) -> str | None:
        """Skip the first line if it matches a pattern. Return the first group, otherwise None."""
        line = next(self._lines, None)
        if line is None:
            return None
        match = pattern.fullmatch(line.text or "")
        if match is None:
            self._lines.put_back([line])
            return None
        return match[1]

    def put_back(self) -> None:
        """Put back the last record, so that it is read again."""
        self._lines.put_back(self._lines_of_record)

    def _parse_record(self, first_line: NumberedLine) -> CsvRecord | InvalidLine:
        """Return the record that begins with a line. Read further lines if the record has more."""
        self._lines_of_record = [first_line]
        line_number, text = first_line
        if text is None:
            return InvalidLine(line_number, LINE_TOO_LONG)

        if '"' in text:
            record = self._parse_quoted_record(first_line)
        else:
            # Without a quote, the record ends with the line. This is faster than the CSV reader.
            record = CsvRecord(line_number, text.rstrip("\r\n").split(self.delimiter))
        if isinstance(record, CsvRecord):
            return self._find_undecodable_line() or record
        return record

    def _parse_quoted_record(self, first_line: NumberedLine) -> CsvRecord | InvalidLine:
        """Return the record that begins with a line that contains a quote."""
        # The CSV reader takes more lines than the first one for as long as a quote is open.
        texts: list[str] = []
        csv_reader = csv.reader(
            self._read_record_lines(texts), delimiter=self.delimiter, strict=True
        )
        try:
            return CsvRecord(first_line.line_number, next(csv_reader))
        except csv.Error:
            return self._reject_record(texts)

    def _read_record_lines(self, texts: list[str]) -> Iterator[str]:
        """Yield the first line of a record, and then the lines that follow it in the file.

        Each line that is yielded is also appended to `texts`, and each line that is read to the
        lines of the record. Stops before the line that would make the record longer than
        `MAX_LINE_LENGTH`, in case it has a quote that is never closed.
        """
        total_length = 0
        line: NumberedLine | None = self._lines_of_record[0]
        while line is not None and line.text is not None:
            total_length += len(line.text)
            if total_length > MAX_LINE_LENGTH:
                return
            texts.append(line.text)
            yield line.text
            line = next(self._lines, None)
            if line is not None:
                self._lines_of_record.append(line)

    def _reject_record(self, texts: list[str]) -> InvalidLine:
        """Return an error about the quotes of the last record, of which these lines were parsed.

        The lines below the one on which the wrong value begins may be records of their own, so they
        are put back.
        """
        first_index, last_index = find_quote_error(texts, self.delimiter)
        is_too_long = len(texts) < len(self._lines_of_record)
        if last_index == first_index:
            problem = "has text after a closing quote"
        elif last_index is not None:
            last_line = self._lines_of_record[last_index]
            problem = (
                "begins a quoted value that is not closed"
                f" (the next quote, on line {last_line.line_number}, is followed by text)"
            )
        elif is_too_long:
            problem = (
                f"begins a quoted value that is not closed within {MAX_LINE_LENGTH} characters"
            )
        else:
            problem = "begins a quoted value that is never closed"
        self._lines.put_back(self._lines_of_record[first_index + 1 :])
        del self._lines_of_record[first_index + 1 :]
        line_number = self._lines_of_record[-1].line_number
        return InvalidLine(line_number, f"{problem}: {_QUOTE_ADVICE}")

    def _find_undecodable_line(self) -> InvalidLine | None:
        """Return an error about the first line of the last record that could not be decoded."""
        for line_number, text in self._lines_of_record:
            if text is not None:
                problem = self._file.describe_undecodable_byte(text)
                if problem is not None:
                    return InvalidLine(line_number, problem)
        return None


class _LineReader:
    """Iterator over the numbered lines of a file. Lines can be put back to be read again."""

    def __init__(self, file: TextFile) -> None:
        self._numbered_lines = enumerate(read_lines(file.text), 1)
        # A stack, whose last line is read next.
        self._lines_put_back: list[NumberedLine] = []

    def __iter__(self) -> Iterator[NumberedLine]:
        return self

    def __next__(self) -> NumberedLine:
        """Return the next line: the first that was put back, otherwise the next of the file."""
        if self._lines_put_back:
            return self._lines_put_back.pop()
        line_number, text = next(self._numbered_lines)
        return NumberedLine(line_number, text)

    def put_back(self, lines: list[NumberedLine]) -> None:
        """Put back the lines that were read last, so that they are read again in this order."""
        self._lines_put_back.extend(reversed(lines))
