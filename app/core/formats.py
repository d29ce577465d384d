"""Models as lines of text, out and in: JSON lines, and CSV with a header (RFC 4180)."""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from io import StringIO
from operator import attrgetter
from typing import Any, BinaryIO, Final, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.errors import reason

Format = Literal["csv", "jsonl"]
MAX_LINE: Final = 64 * 1024  # bytes: no line costs more memory
BOM: Final = b"\xef\xbb\xbf"
Model = TypeVar("Model", bound=BaseModel)
# A line's number in the file, and its model or what is wrong with it.
Read = tuple[int, Model | str]


def written(
    form: Format, model: type[BaseModel]
) -> tuple[bytes, Callable[[Iterable[BaseModel]], bytes]]:
    """What a file of such models begins with, and what turns some of them into its lines."""
    if form == "jsonl":
        return b"", lambda items: b"".join(
            item.model_dump_json().encode() + b"\n" for item in items
        )
    columns = dict(_columns(model))
    values = attrgetter(*columns.values())

    def lines(items: Iterable[BaseModel]) -> bytes:
        return _csv(map(_text, values(item)) for item in items)

    return _csv([columns]), lines


def _columns(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Columns and their attributes; those of a model within follow its name: author_name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for column, attribute in _columns(field.annotation):
                yield f"{name}_{column}", f"{name}.{attribute}"
        elif not field.exclude:
            yield name, name


def _text(value: object) -> object:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def read(form: Format, model: type[Model], file: BinaryIO) -> Iterator[Read[Model]]:
    """Each line as a model or as what is wrong with it; empty ones are left out.

    Raises `ValueError` when the header of a CSV file has other columns than the model.
    """
    lines = _Lines(file)
    return _read_csv(model, lines) if form == "csv" else _read_json(model, lines)


class _Lines:
    """The lines of a file in bounded memory: one that is too long comes as an empty one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.too_long = file, 0  # the number of the last one that was

    def __iter__(self) -> Iterator[bytes]:
        number = 0
        while line := self._file.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while (rest := self._file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                self.too_long, line = number, b"\n"
            yield line.removeprefix(BOM) if number == 1 else line


def _read_json(model: type[Model], lines: _Lines) -> Iterator[Read[Model]]:
    for number, line in enumerate(lines, 1):
        if lines.too_long == number:
            yield number, _too_long()
        elif line.strip():
            yield number, _checked(model.model_validate_json, line)


def _read_csv(model: type[Model], lines: _Lines) -> Iterator[Read[Model]]:
    # What is no UTF-8 becomes what no string of the model may contain.
    text = (line.decode(errors="surrogateescape") for line in lines)
    reader = csv.reader(text, strict=True)
    columns = next(reader, [])
    if set(columns) != set(model.model_fields) or len(set(columns)) < len(columns):
        raise ValueError(f"the first line must name the columns {', '.join(model.model_fields)}")
    rows = _rows(reader)
    for row in rows:
        number = reader.line_num
        if lines.too_long == number:
            yield number, _too_long()
        elif isinstance(row, str):
            yield number, row
        elif len(row) != len(columns):
            if row:
                yield number, f"has {len(row)} columns, not {len(columns)}"
        else:
            values = {name: value for name, value in zip(columns, row, strict=True) if value}
            yield number, _checked(model.model_validate, values)


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield str(error)


def _checked(validate: Callable[[Any], Model], line: Any) -> Model | str:
    try:
        return validate(line)
    except ValidationError as error:
        return "; ".join(
            ".".join(map(str, item["loc"])) + ": " * bool(item["loc"]) + reason(item)
            for item in error.errors(include_url=False, include_input=False)
        )


def _too_long() -> str:
    return f"is longer than {MAX_LINE} bytes"
