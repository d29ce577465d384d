"""Read models from a file."""

from collections.abc import Iterator
from typing import BinaryIO, Final, Generic, TypeVar

from pydantic import BaseModel

from app.core.formats._csv_header import read_header
from app.core.formats._csv_records import CsvRecords
from app.core.formats._json_array import read_items
from app.core.formats._json_objects import JsonMapping
from app.core.formats._line_validation import LineValidator, ParsedLine
from app.core.formats._read_options import ReadOptions
from app.core.formats._strict_json import JsonTooLarge, parse_json_text
from app.core.formats._text_files import TextFile, open_text
from app.core.formats._text_lines import LINE_TOO_LONG, InvalidLine, read_lines
from app.core.formats._writers import Format

ModelT = TypeVar("ModelT", bound=BaseModel)

_DEFAULT_OPTIONS: Final = ReadOptions()


def parse_lines(
    file_format: Format,
    model: type[ModelT],
    file: BinaryIO,
    options: ReadOptions = _DEFAULT_OPTIONS,
) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
    """Yield the lines of a file as instances of a model, and skip blank lines.

    Parsing continues after an invalid line. For example, a file may give `ParsedLine(2, book)`,
    then `InvalidLine(3, "has 2 values instead of 3")`, and then `ParsedLine(4, other_book)`. The
    line number of an item of a JSON array, or of a CSV record, is that of its first line.

    Raises `ValueError` if the file is not text, if the header of a CSV file is missing or does not
    name the fields of the model, or if the syntax of a JSON array is wrong. The message says what
    to do, and continues a sentence such as "cannot read books.csv: ...".
    """
    text_file = open_text(file, options.encoding, translate_line_ends=file_format == "json")
    if file_format == "csv":
        return _parse_csv(model, text_file, options)
    json_parser = _JsonParser(model, text_file, options)
    if file_format == "jsonl":
        return json_parser.parse_lines()
    return json_parser.parse_array()


def _parse_csv(
    model: type[ModelT], file: TextFile, options: ReadOptions
) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
    """Yield the records of a CSV file as instances of a model.

    The header names the fields of the model in any order. Raises `ValueError` if it does not.
    """
    records = CsvRecords(file)
    columns = read_header(records, model, options)
    indexes = list(columns.indexes_by_field.items())
    validator = LineValidator(model, options)
    for record in records:
        if isinstance(record, InvalidLine):
            yield record
        elif len(record.values) != columns.column_count:
            message = _describe_value_count(record.values, columns.column_count, records.delimiter)
            yield InvalidLine(record.line_number, message)
        else:
            values = record.values
            # CSV cannot distinguish an empty value from a missing one.
            field_values = {
                field_name: values[index] for field_name, index in indexes if values[index]
            }
            yield validator.validate(record.line_number, field_values)


def _describe_value_count(values: list[str], column_count: int, delimiter: str) -> str:
    """Return what is wrong with a CSV record that has more or fewer values than the header."""
    unit = "value" if len(values) == 1 else "values"
    message = f"has {len(values)} {unit} instead of {column_count}"
    if len(values) > column_count:
        return f"{message}: write a value that contains the delimiter in quotes"
    # Spreadsheet programs write such lines if they have read a file with another delimiter.
    is_whole_line_quoted = len(values) == 1 and delimiter in values[0]
    if is_whole_line_quoted:
        return f"{message}: remove the quotes around the whole line, or export the file again"
    return f"{message}: write a value that contains a line break in quotes"


class _JsonParser(Generic[ModelT]):
    """Parses the JSON objects of a file as instances of a model."""

    def __init__(self, model: type[ModelT], file: TextFile, options: ReadOptions) -> None:
        self._file = file
        self._mapping = JsonMapping(model, options)
        self._validator = LineValidator(model, options)

    def parse_lines(self) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
        """Yield the lines of a JSON lines file, each of which has an object. Skip blank lines."""
        for line_number, line in enumerate(read_lines(self._file.text), 1):
            if line is None:
                yield InvalidLine(line_number, LINE_TOO_LONG)
            elif line.strip():
                yield self._parse_object(line_number, line)

    def parse_array(self) -> Iterator[ParsedLine[ModelT] | InvalidLine]:
        """Yield the items of a file that has an array of objects."""
        for item_number, (line_number, text) in enumerate(read_items(self._file), 1):
            line = self._parse_object(line_number, text)
            if isinstance(line, InvalidLine):
                line = InvalidLine(line_number, f"item {item_number}: {line.error_message}")
            yield line

    def _parse_object(self, line_number: int, text: str) -> ParsedLine[ModelT] | InvalidLine:
        """Parse a JSON object, and validate it as an instance of the model."""
        undecodable_byte = self._file.describe_undecodable_byte(text)
        if undecodable_byte is not None:
            return InvalidLine(line_number, undecodable_byte)
        try:
            json_value = parse_json_text(text)
        except JsonTooLarge as error:
            return InvalidLine(line_number, str(error))
        except ValueError:
            # Do not use the message of this error, because it may quote confidential values.
            return InvalidLine(line_number, _describe_invalid_json(line_number, text))
        return self._validator.validate(line_number, self._mapping.map_value(json_value))


def _describe_invalid_json(line_number: int, text: str) -> str:
    """Return a message about a line that is not JSON."""
    message = "is not valid JSON or repeats a key"
    is_start_of_array = line_number == 1 and text.startswith("[")
    if is_start_of_array:
        return f"{message}: if the file contains one JSON array, pass --format json"
    return message
