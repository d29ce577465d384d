"""Read models from the lines of a file."""

from collections.abc import Iterator
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.field_errors import validation_error_message
from app.core.formats._csv_records import read_records
from app.core.formats._strict_json import parse_json
from app.core.formats._text_lines import LINE_TOO_LONG, read_lines
from app.core.formats._writers import Format

Model = TypeVar("Model", bound=BaseModel)
# The number of a line in its file, and its model, or an error message if the line is invalid.
ParsedLine = tuple[int, Model | str]


def parse_lines(
    file_format: Format, model: type[Model], file: BinaryIO
) -> Iterator[ParsedLine[Model]]:
    """Parse the lines of a file as instances of a model, one at a time, without empty lines.

    After an invalid line, parsing continues with the next line. For example, a file may give
    `(2, BookLine(...))`, then `(3, "has 2 columns instead of 3")`, then `(4, BookLine(...))`.

    Raises `ValueError` if the header of a CSV file does not name exactly the fields of the model.
    """
    if file_format == "csv":
        return _parse_csv(model, file)
    return _parse_json_lines(model, file)


def _parse_json_lines(model: type[Model], file: BinaryIO) -> Iterator[ParsedLine[Model]]:
    for line_number, line in enumerate(read_lines(file), 1):
        if line is None:
            yield line_number, LINE_TOO_LONG
        elif line.strip():
            yield line_number, _parse_json_line(model, line)


def _parse_json_line(model: type[Model], line: bytes) -> Model | str:
    """Return the model in a line of JSON, or an error message."""
    try:
        json_value = parse_json(line)
    except ValueError:
        # The message of this error may quote the line, which may be confidential.
        return "is not valid JSON or repeats a key"
    return _validate(model, json_value)


def _parse_csv(model: type[Model], file: BinaryIO) -> Iterator[ParsedLine[Model]]:
    """Parse a CSV file whose header names the fields of the model in any order."""
    records = read_records(file)
    empty_header: tuple[int, list[str]] = (1, [])
    _, header = next(records, empty_header)
    if isinstance(header, str) or sorted(header) != sorted(model.model_fields):
        raise ValueError(f"the first line must name the columns {', '.join(model.model_fields)}")
    for line_number, record in records:
        if isinstance(record, str):
            error_message = record
            yield line_number, error_message
        elif len(record) != len(header):
            yield line_number, f"has {len(record)} columns instead of {len(header)}"
        else:
            # CSV cannot distinguish an empty value from a missing one.
            field_values = {
                column: value for column, value in zip(header, record, strict=True) if value
            }
            yield line_number, _validate(model, field_values)


def _validate(model: type[Model], value: Any) -> Model | str:
    """Return an instance of the model, or an error message if the value is invalid.

    Example of a message: `title: Required; dob: Must be a date such as 2026-11-29`.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        field_errors = error.errors(include_url=False, include_input=False)
    return "; ".join(
        _describe_field_error(field_error["loc"], validation_error_message(field_error))
        for field_error in field_errors
    )


def _describe_field_error(location: tuple[int | str, ...], message: str) -> str:
    """Return the message after the path of its field, for example `author.name: Required`."""
    if not location:
        return message
    field_path = ".".join(map(str, location))
    return f"{field_path}: {message}"
