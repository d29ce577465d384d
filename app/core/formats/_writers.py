"""Write models as the lines of a file."""

import codecs
import csv
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from typing import Final, Literal, Protocol

from pydantic import BaseModel
from pydantic_core import to_json

from app.core.formats._csv_columns import csv_column_getters

# `json` is an array of objects, and `jsonl` one object per line.
Format = Literal["csv", "jsonl", "json"]
# Characters that JSON does not require to be escaped, but at which many readers end a line, such as
# `str.splitlines` of Python. Each one in UTF-8, for example b"\xe2\x80\xa8", and as an escape
# sequence of JSON, for example b"\\u2028".
_LINE_SEPARATORS: Final = tuple(
    (separator.encode(), f"\\u{ord(separator):04x}".encode())
    for separator in ("\u0085", "\u2028", "\u2029")
)
# A spreadsheet may execute a cell that begins with one of these characters, also if it is text.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class CsvStyle:
    """How to write a CSV file.

    Args:
        has_bom: True begins the file with a byte order mark, by which Excel recognizes UTF-8.
        escapes_formulas: True writes an apostrophe before each text that a spreadsheet could
            execute as a formula: `'=1+1` instead of `=1+1`.
    """

    has_bom: bool = False
    escapes_formulas: bool = False


_DEFAULT_CSV_STYLE: Final = CsvStyle()


class LineWriter(Protocol):
    """Formats the instances of one model as the lines of one file."""

    # The first line of a CSV file, with the names of the columns, or the bracket that opens a JSON
    # array. Empty for JSON lines.
    header: bytes
    # The bracket that closes a JSON array. Empty for CSV and JSON lines.
    footer: bytes

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        """Return one line for each item. The lines of several calls follow each other."""


def create_writer(
    file_format: Format, model: type[BaseModel], csv_style: CsvStyle = _DEFAULT_CSV_STYLE
) -> LineWriter:
    """Return a writer that formats instances of this model.

    `csv_style` has no effect on other formats.
    """
    if file_format == "csv":
        return _CsvWriter(model, csv_style)
    if file_format == "jsonl":
        return _JsonLinesWriter()
    return _JsonArrayWriter()


class _JsonLinesWriter:
    """Formats each model as a JSON object on a line of its own."""

    header = b""
    footer = b""

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        lines = b"".join([_to_json(item) + b"\n" for item in items])
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
            lines += self._separator + _to_json(item)
            self._separator = b",\n"
        return _escape_line_separators(bytes(lines))


class _CsvWriter:
    """Formats each model as a CSV record, below a header with the names of the columns."""

    footer = b""

    def __init__(self, model: type[BaseModel], style: CsvStyle) -> None:
        getters_by_column = csv_column_getters(model)
        column_names = list(getters_by_column)
        byte_order_mark = codecs.BOM_UTF8 if style.has_bom else b""
        self.header = byte_order_mark + _format_csv([column_names])
        self._column_getters = list(getters_by_column.values())
        self._escapes_formulas = style.escapes_formulas

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        all_items = list(items)
        # Column by column, so that no Python code runs for a value.
        columns = [map(get_value, all_items) for get_value in self._column_getters]
        records = zip(*columns, strict=True)
        if self._escapes_formulas:
            return _format_csv(map(_escape_formula, record) for record in records)
        return _format_csv(records)


def _to_json(item: BaseModel) -> bytes:
    """Return a model as JSON. `model_dump_json` takes three times as long, and returns a `str`."""
    return to_json(item)


def _escape_formula(csv_value: object) -> object:
    """Return a value, with an apostrophe before a text that may be a formula."""
    # The other values are numbers, dates and the like, which cannot be formulas.
    if isinstance(csv_value, str) and csv_value.startswith(_FORMULA_STARTS):
        return f"'{csv_value}"
    return csv_value


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
