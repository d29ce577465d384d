"""Write models as the lines of a file."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Literal, Protocol

from pydantic import BaseModel

from app.core.formats._csv_columns import csv_columns, to_csv_value

Format = Literal["csv", "jsonl"]


class LineWriter(Protocol):
    """Writes models of one class as lines."""

    # The beginning of the file, which comes before the first line.
    header: bytes

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        """Return the lines of some models, each with its line end."""


def create_writer(file_format: Format, model: type[BaseModel]) -> LineWriter:
    """Return the writer of a format for models of this class."""
    if file_format == "csv":
        return _CsvWriter(model)
    return _JsonLinesWriter()


class _JsonLinesWriter:
    header = b""

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        return b"".join(item.model_dump_json().encode() + b"\n" for item in items)


class _CsvWriter:
    """Writes CSV, which begins with a line of the columns' names."""

    def __init__(self, model: type[BaseModel]) -> None:
        columns = csv_columns(model)
        self.header = _format_csv([columns])
        self._getters = list(columns.values())

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        getters = self._getters
        return _format_csv(
            [to_csv_value(get_value(item)) for get_value in getters] for item in items
        )


def _format_csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
