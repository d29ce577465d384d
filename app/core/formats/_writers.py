"""Write models as the lines of a file."""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from io import StringIO
from operator import attrgetter
from typing import Literal, Protocol

from pydantic import BaseModel

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
    """Writes CSV with one column for each field, in the order of the fields."""

    def __init__(self, model: type[BaseModel]) -> None:
        columns = dict(_list_columns(model))
        self.header = _format_csv([columns])
        self._get_values = attrgetter(*columns.values())

    def format_lines(self, items: Iterable[BaseModel]) -> bytes:
        return _format_csv(map(_to_csv_value, self._get_values(item)) for item in items)


def _list_columns(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Return the name of each column, and the attribute that has its value.

    A field that is itself a model becomes one column for each of its fields: the name of a book's
    author is the column `author_name`, from the attribute `author.name`.
    """
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for column, attribute in _list_columns(field.annotation):
                yield f"{name}_{column}", f"{name}.{attribute}"
        elif not field.exclude:
            yield name, name


def _to_csv_value(value: object) -> object:
    """Write a time as JSON does, `2026-11-21T19:47:34Z`. csv itself converts all other values."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value


def _format_csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
