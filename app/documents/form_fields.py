"""The fields of a multipart form: collect their text, validate them, and report wrong ones."""

from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from app.core.errors import InvalidRequest
from app.core.field_errors import (
    FieldError,
    json_pointer,
    validation_error_code,
    validation_error_message,
)

MAX_TEXT_FIELD_SIZE: Final = 1024  # bytes
Model = TypeVar("Model", bound=BaseModel)


class TextField:
    """Collects the content of a text field, which arrives in chunks."""

    def __init__(self, field_name: str) -> None:
        self._field_name = field_name
        self._content = bytearray()

    async def write(self, chunk: bytes | memoryview) -> None:
        """Add the next bytes. Raises `InvalidRequest` if the field becomes too long."""
        self._content += chunk
        if len(self._content) > MAX_TEXT_FIELD_SIZE:
            raise invalid_field(
                self._field_name,
                code="too_long",
                detail=f"The field is longer than {MAX_TEXT_FIELD_SIZE} bytes",
            )

    def text(self) -> str:
        """Return the text of the field. Raises `InvalidRequest` if it is not valid UTF-8."""
        try:
            return self._content.decode()
        except UnicodeDecodeError:
            raise invalid_field(
                self._field_name, code="utf8", detail="The text of the field is not valid UTF-8"
            ) from None


def validate_fields(
    model: type[Model], values: dict[str, Any], reported_field: str | None = None
) -> Model:
    """Validate values from a form, and return them as a model.

    Raises `InvalidRequest` with one field error for each invalid value. The errors point to the
    fields of the model. If the values belong to one field of the form, such as the filename and
    the media type of `file`, pass its name as `reported_field`, and all errors point to it.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        field_errors = []
        for item in error.errors():
            path = item["loc"]
            if reported_field is not None:
                path = (reported_field,)
            field_error = FieldError(
                pointer=json_pointer(*path),
                code=validation_error_code(item),
                detail=validation_error_message(item),
            )
            field_errors.append(field_error)
        raise InvalidRequest(*field_errors) from None


def invalid_field(field_name: str, *, code: str, detail: str) -> InvalidRequest:
    """Return the error for one invalid field of a form.

    `code` is stable, so that programs can rely on it. `detail` explains the error to people.
    """
    return InvalidRequest(FieldError(pointer=json_pointer(field_name), code=code, detail=detail))
