"""Models as lines of text, out and in: JSON lines, and CSV with a header (RFC 4180)."""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from io import StringIO
from itertools import count
from operator import attrgetter
from typing import Any, BinaryIO, Final, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.errors import reason
from app.core.strict_json import parse

Format = Literal["csv", "jsonl"]
MAX_LINE: Final = 16 * 1024  # bytes: no line costs more memory
TOO_LONG: Final = f"is longer than {MAX_LINE} bytes"
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
    return _read_csv(model, file) if form == "csv" else _read_json(model, file)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; `None` for one that is too long to be held."""
    first = True
    while line := file.readline(MAX_LINE):
        if whole := len(line) < MAX_LINE or line.endswith(b"\n"):
            yield line.removeprefix(BOM) if first else line
        else:
            yield None
        while not whole and (rest := file.readline(MAX_LINE)):
            whole = rest.endswith(b"\n")
        first = False


def _read_json(model: type[Model], file: BinaryIO) -> Iterator[Read[Model]]:
    for number, line in enumerate(_lines(file), 1):
        if line is None:
            yield number, TOO_LONG
        elif line.strip():
            yield number, _checked(lambda text: model.model_validate(parse(text)), line)


def _read_csv(model: type[Model], file: BinaryIO) -> Iterator[Read[Model]]:
    records = _records(file)
    _, columns = next(records, (0, []))
    if sorted(columns) != sorted(model.model_fields):
        raise ValueError(f"the first line must name the columns {', '.join(model.model_fields)}")
    for number, record in records:
        if isinstance(record, str):
            yield number, record
        elif len(record) != len(columns):
            yield number, f"has {len(record)} columns, not {len(columns)}"
        else:
            values = {name: value for name, value in zip(columns, record, strict=True) if value}
            yield number, _checked(model.model_validate, values)


def _records(file: BinaryIO) -> Iterator[tuple[int, list[str] | str]]:
    """The records of CSV by their first lines. A quote that nothing closes costs one line only."""
    # What is no UTF-8 becomes what no string of a model may contain.
    decoded = (
        None if line is None else line.decode(errors="surrogateescape") for line in _lines(file)
    )
    lines = _Ahead(enumerate(decoded, 1))
    for number, line in iter(lines.take, _Ahead.END):
        reader = csv.reader(lines.ahead(line or ""), strict=True)
        try:
            values = next(reader)
        except csv.Error as error:
            yield number, str(error).partition(" - ")[0]  # the rest is for programmers
            continue
        for _ in range(reader.line_num - 1):
            lines.take()
        if values or line is None:
            yield number, values if line is not None else TOO_LONG


class _Ahead:
    """Numbered lines of which the next ones can be seen before they are taken."""

    END: Final = (0, None)

    def __init__(self, lines: Iterator[tuple[int, str | None]]) -> None:
        self._lines, self._seen = lines, deque[tuple[int, str | None]]()

    def take(self) -> tuple[int, str | None]:
        return self._seen.popleft() if self._seen else next(self._lines, self.END)

    def ahead(self, line: str) -> Iterator[str]:
        """A line and those after it, as far as a record may reach; they stay to be taken."""
        length = 0
        for place in count():
            yield line
            length += len(line)
            if place == len(self._seen):
                self._seen.append(next(self._lines, self.END))
            following = self._seen[place][1]
            if not following or length >= MAX_LINE:
                return
            line = following


def _checked(validate: Callable[[Any], Model], line: Any) -> Model | str:
    try:
        return validate(line)
    except ValidationError as error:
        return "; ".join(
            ".".join(map(str, item["loc"])) + ": " * bool(item["loc"]) + reason(item)
            for item in error.errors(include_url=False, include_input=False)
        )
    except ValueError:  # its words may quote the line
        return "is no JSON, or names a key twice"
