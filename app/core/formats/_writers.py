"""Write models as the lines of a file."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Final, Literal, Protocol

from pydantic import BaseModel

from app.core.formats._csv_columns import csv_column_getters, to_csv_value

# `json` is an array of objects, and `jsonl` one object per line.
Format = Literal["csv", "jsonl", "json"]
# Characters that JSON does not require to be escaped, but at which many readers end a line, such as
# `str.splitlines` of Python. Each one in UTF-8, for example b"\xe2\x80\xa8", and as an escape
# sequence of JSON, for example b"\\u2028".
_LINE_SEPARATORS: Final = tuple(
    (separator.encode(), f"\\u{ord(separator):04x}".encode())
    for separator in ("\u0085", "\u2028", "\u2029")
)


class LineWriter(Protocol):
    """Formats the instances of one model as the lines of one file."""

    # The first line of a CSV file, with the names of the columns, or the bracket that opens a JSON
    # array. Empty for JSON lines.
    header: bytes
    # The bracket that closes a JSON array. Empty for CSV and JSON lines.
    footer: bytes

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        """Return one line for each item. The lines of several calls follow each other."""


def create_writer(file_format: Format, model: type[BaseModel]) -> LineWriter:
    """Return a writer that formats instances of this model."""
    if file_format == "csv":
        return _CsvWriter(model)
    if file_format == "jsonl":
        return _JsonLinesWriter()
    return _JsonArrayWriter()


class _JsonLinesWriter:
    """Formats each model as a JSON object on a line of its own."""

    header = b""
    footer = b""

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        lines = b"".join(item.model_dump_json().encode() + b"\n" for item in items)
        return _escape_line_separators(lines)


class _JsonArrayWriter:
    """Formats the models as the items of one JSON array, each on a line of its own."""

    header = b"["
    footer = b"\n]\n"

    def __init__(self) -> None:
        self._separator = b"\n"

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        lines = bytearray()
        for item in items:
            lines += self._separator + item.model_dump_json().encode()
            self._separator = b",\n"
        return _escape_line_separators(bytes(lines))


class _CsvWriter:
    """Formats each model as a CSV record, below a header with the names of the columns."""

    footer = b""

    def __init__(self, model: type[BaseModel]) -> None:
        getters_by_column = csv_column_getters(model)
        column_names = list(getters_by_column)
        self.header = _format_csv([column_names])
        self._column_getters = list(getters_by_column.values())

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        return _format_csv(
            [to_csv_value(get_column(item)) for get_column in self._column_getters]
            for item in items
        )


def _escape_line_separators(json_lines: bytes) -> bytes:
    """Escape the characters at which readers end a line, so that each JSON object stays on one."""
    for separator, escape_sequence in _LINE_SEPARATORS:
        json_lines = json_lines.replace(separator, escape_sequence)
    return json_lines


def _format_csv(records: Iterable[Iterable[object]]) -> bytes:
    """Return lists of values as the lines of a CSV file, encoded as UTF-8."""
    text = StringIO(newline="")
    csv.writer(text).writerows(records)
    return text.getvalue().encode()
