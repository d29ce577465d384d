"""Read models from the lines of a file."""

from collections.abc import Iterator
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.errors import reason
from app.core.formats._csv_records import read_records
from app.core.formats._strict_json import parse_json
from app.core.formats._text_lines import LINE_TOO_LONG, read_lines
from app.core.formats._writers import Format

Model = TypeVar("Model", bound=BaseModel)
# The number of a line in its file, and its model or a text that says what is wrong with it.
ParsedLine = tuple[int, Model | str]


def parse_lines(
    file_format: Format, model: type[Model], file: BinaryIO
) -> Iterator[ParsedLine[Model]]:
    """Read the models of a file, one at a time. Empty lines are left out.

    A line that is wrong does not end the reading. For example, a file may give
    `(2, BookLine(...))`, then `(3, "has 2 columns, not 3")`, then `(4, BookLine(...))`.

    Raises `ValueError` if the header of a CSV file names other columns than the model has.
    """
    if file_format == "csv":
        return _parse_csv(model, file)
    return _parse_json_lines(model, file)


def _parse_json_lines(model: type[Model], file: BinaryIO) -> Iterator[ParsedLine[Model]]:
    for number, line in enumerate(read_lines(file), 1):
        if line is None:
            yield number, LINE_TOO_LONG
        elif line.strip():
            yield number, _parse_json_line(model, line)


def _parse_json_line(model: type[Model], line: bytes) -> Model | str:
    try:
        value = parse_json(line)
    except ValueError:
        # The message of the error may quote the line, which may be confidential.
        return "is no JSON, or names a key twice"
    return _validate(model, value)


def _parse_csv(model: type[Model], file: BinaryIO) -> Iterator[ParsedLine[Model]]:
    records = read_records(file)
    _, columns = next(records, (0, []))
    if isinstance(columns, str) or sorted(columns) != sorted(model.model_fields):
        raise ValueError(f"the first line must name the columns {', '.join(model.model_fields)}")
    for number, record in records:
        if isinstance(record, str):
            yield number, record
        elif len(record) != len(columns):
            yield number, f"has {len(record)} columns, not {len(columns)}"
        else:
            pairs = zip(columns, record, strict=True)
            # CSV cannot tell an empty value from none.
            values = {column: value for column, value in pairs if value}
            yield number, _validate(model, values)


def _validate(model: type[Model], value: Any) -> Model | str:
    """Return the model, or its faults, for example `title: Field required; dob: Invalid date`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        return "; ".join(_describe(fault["loc"], reason(fault)) for fault in faults)


def _describe(location: tuple[int | str, ...], fault: str) -> str:
    if not location:
        return fault
    field = ".".join(map(str, location))
    return f"{field}: {fault}"
