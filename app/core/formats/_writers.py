"""Write models as the lines of a file."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Literal, Protocol

from pydantic import BaseModel

from app.core.formats._csv_columns import csv_column_getters, to_csv_value

Format = Literal["csv", "jsonl"]


class LineWriter(Protocol):
    """Formats the instances of one model as the lines of a file."""

    # The first line of a CSV file, with the names of the columns. Empty for JSON lines.
    header: bytes

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        """Return one line for each item, with its line end."""


def create_writer(file_format: Format, model: type[BaseModel]) -> LineWriter:
    """Return a writer that formats instances of this model as CSV or as JSON lines."""
    if file_format == "csv":
        return _CsvWriter(model)
    return _JsonLinesWriter()


class _JsonLinesWriter:
    """Formats each model as a JSON object on a line of its own."""

    header = b""

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        return b"".join(item.model_dump_json().encode() + b"\n" for item in items)


class _CsvWriter:
    """Formats each model as a CSV record, below a header with the names of the columns."""

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


def _format_csv(records: Iterable[Iterable[object]]) -> bytes:
    """Return lists of values as the lines of a CSV file, encoded as UTF-8."""
    text = StringIO(newline="")
    csv.writer(text).writerows(records)
    return text.getvalue().encode()
