"""Validate the values of a line as an instance of a model, and describe what is wrong with them."""

from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.core.field_errors import validation_error_message
from app.core.formats._column_names import describe_missing_columns, describe_unknown_columns
from app.core.formats._read_options import ReadOptions
from app.core.formats._text_lines import InvalidLine

ModelT = TypeVar("ModelT", bound=BaseModel)


class ParsedLine(NamedTuple, Generic[ModelT]):
    """A valid line of a file, as an instance of a model."""

    line_number: int
    item: ModelT


class LineValidator(Generic[ModelT]):
    """Validates lines as instances of one model."""

    def __init__(self, model: type[ModelT], options: ReadOptions) -> None:
        self._model = model
        self._options = options

    def validate(self, line_number: int, value: Any) -> ParsedLine[ModelT] | InvalidLine:
        """Validate the value of a line, such as `{"title": "Emma"}`, as an instance of the model.

        If it is invalid, the returned `InvalidLine` has an error message that names all fields,
        such as `title: Required; dob: Must be a date such as 2026-11-29`.
        """
        try:
            return ParsedLine(line_number, self._model.model_validate(value))
        except ValidationError as error:
            field_errors = error.errors(include_url=False)
        return InvalidLine(line_number, self._describe_field_errors(field_errors))

    def _describe_field_errors(self, field_errors: list[ErrorDetails]) -> str:
        """Return one message for all errors of a line.

        A JSON object that has unknown keys gets the same advice as the header of a CSV file.
        """
        unknown_columns = [
            str(error["loc"][0]) for error in field_errors if error["type"] == "extra_forbidden"
        ]
        missing_fields = [
            str(error["loc"][0]) for error in field_errors if error["type"] == "missing"
        ]
        advice = None
        covered_types: set[str] = set()
        if unknown_columns and missing_fields:
            advice = describe_missing_columns(missing_fields, unknown_columns, self._options)
            covered_types = {"extra_forbidden", "missing"}
        elif unknown_columns:
            advice = describe_unknown_columns(unknown_columns, self._model)
            covered_types = {"extra_forbidden"}

        messages = [
            self._describe_field_error(error)
            for error in field_errors
            if error["type"] not in covered_types
        ]
        if advice is not None:
            messages.append(advice)
        return "; ".join(messages)

    def _describe_field_error(self, field_error: ErrorDetails) -> str:
        """Return an error message with the path of its field, for example `author.name: Required`.

        The location of this field is `("author", "name")`. It is empty for an error of the whole
        model. A field that is read from another column is shown as `title (column Titel)`.
        """
        message = validation_error_message(field_error)
        location = field_error["loc"]
        if not location:
            return message
        field_path = ".".join(map(str, location))
        column = self._options.columns.get(str(location[0]))
        if column is not None:
            field_path += f" (column {column})"
        return f"{field_path}: {message}"
