"""Read models from the lines of a file."""

from collections.abc import Iterator
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.field_errors import validation_error_message
from app.core.formats._csv_records import CsvRecord, read_records
from app.core.formats._strict_json import parse_json
from app.core.formats._text_lines import LINE_TOO_LONG, InvalidLine, read_lines
from app.core.formats._writers import Format

ModelT = TypeVar("ModelT", bound=BaseModel)


class ParsedLine(NamedTuple, Generic[ModelT]):
    """A valid line of a file, as an instance of a model."""

    line_number: int
    item: ModelT


def parse_lines(
    file_format: Format, model: type[ModelT], file: BinaryIO
) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
    """Yield the lines of a file as instances of a model, and skip empty lines.

    Parsing continues after an invalid line. For example, a file may give `ParsedLine(2, book)`,
    then `InvalidLine(3, "has 2 columns instead of 3")`, and then `ParsedLine(4, other_book)`.

    Raises `ValueError` if the header of a CSV file does not name exactly the fields of the model.
    """
    if file_format == "csv":
        return _parse_csv(model, file)
    return _parse_json_lines(model, file)


def _parse_json_lines(
    model: type[ModelT], file: BinaryIO
) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
    """Yield the lines of a JSON lines file as instances of a model, and skip empty lines."""
    for line_number, line in enumerate(read_lines(file), 1):
        if line is None:
            yield InvalidLine(line_number, LINE_TOO_LONG)
        elif line.strip():
            yield _parse_json_line(model, line_number, line)


def _parse_json_line(
    model: type[ModelT], line_number: int, line: bytes
) -> ParsedLine[ModelT] | InvalidLine:
    """Parse a line that contains one JSON object, and validate it as an instance of the model."""
    try:
        json_value = parse_json(line)
    except ValueError:
        # Do not use the message of this error, because it may quote confidential values.
        return InvalidLine(line_number, "is not valid JSON or repeats a key")
    return _validate_line(model, line_number, json_value)


def _parse_csv(model: type[ModelT], file: BinaryIO) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
    """Yield the records of a CSV file as instances of a model.

    The header names the fields of the model in any order. Raises `ValueError` if it does not.
    """
    records = read_records(file)
    header = next(records, None)
    if not isinstance(header, CsvRecord) or sorted(header.values) != sorted(model.model_fields):
        raise ValueError(f"the first line must name the columns {', '.join(model.model_fields)}")

    columns = header.values
    for record in records:
        if isinstance(record, InvalidLine):
            yield record
        elif len(record.values) != len(columns):
            error_message = f"has {len(record.values)} columns instead of {len(columns)}"
            yield InvalidLine(record.line_number, error_message)
        else:
            # CSV cannot distinguish an empty value from a missing one.
            field_values = {
                column: value for column, value in zip(columns, record.values, strict=True) if value
            }
            yield _validate_line(model, record.line_number, field_values)


def _validate_line(
    model: type[ModelT], line_number: int, json_value: Any
) -> ParsedLine[ModelT] | InvalidLine:
    """Validate the values of a line, such as `{"title": "Emma"}`, as an instance of the model.

    If they are invalid, the returned `InvalidLine` has an error message that names all fields, such
    as `title: Required; dob: Must be a date such as 2026-11-29`.
    """
    try:
        return ParsedLine(line_number, model.model_validate(json_value))
    except ValidationError as error:
        field_errors = error.errors(include_url=False, include_input=False)

    error_message = "; ".join(
        _describe_field_error(field_error["loc"], validation_error_message(field_error))
        for field_error in field_errors
    )
    return InvalidLine(line_number, error_message)


def _describe_field_error(location: tuple[int | str, ...], message: str) -> str:
    """Return an error message with the path of its field, for example `author.name: Required`.

    The location of this field is `("author", "name")`. It is empty for an error of the whole model.
    """
    if not location:
        return message
    field_path = ".".join(map(str, location))
    return f"{field_path}: {message}"
