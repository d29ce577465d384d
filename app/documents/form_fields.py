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
ModelT = TypeVar("ModelT", bound=BaseModel)


class TextField:
    """The content of a text field of a form. It arrives in chunks and is collected in memory."""

    def __init__(self, field_name: str) -> None:
        """Create an empty field. Errors point to `field_name`."""
        self._field_name = field_name
        self._content = bytearray()

    async def write(self, chunk: bytes | memoryview) -> None:
        """Append the next bytes of the field. Raises `InvalidRequest` if it becomes too long."""
        self._content += chunk
        if len(self._content) > MAX_TEXT_FIELD_SIZE:
            raise create_invalid_field_error(
                self._field_name,
                code="too_long",
                detail=f"The field is longer than {MAX_TEXT_FIELD_SIZE} bytes",
            )

    def text(self) -> str:
        """Return the text of the field. Raises `InvalidRequest` if it is not valid UTF-8."""
        try:
            return self._content.decode()
        except UnicodeDecodeError:
            raise create_invalid_field_error(
                self._field_name, code="utf8", detail="The text of the field is not valid UTF-8"
            ) from None


def validate_fields(
    model: type[ModelT], values: dict[str, Any], form_field: str | None = None
) -> ModelT:
    """Validate values from a form, given by the names of the model's fields. Return the model.

    Raises `InvalidRequest` with a field error for each invalid value. By default, an error points
    to the field of the model, for example `/name`. With `form_field="file"`, all errors point to
    `/file`, because the filename and the media type belong to this field of the form.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        field_errors = []
        for validation_error in error.errors():
            error_path = validation_error["loc"]
            if form_field is not None:
                error_path = (form_field,)
            field_error = FieldError(
                pointer=json_pointer(*error_path),
                code=validation_error_code(validation_error),
                detail=validation_error_message(validation_error),
            )
            field_errors.append(field_error)
        raise InvalidRequest(*field_errors) from None


def create_invalid_field_error(field_name: str, *, code: str, detail: str) -> InvalidRequest:
    """Create the error for one invalid field of a form.

    `code` identifies the error for programs, for example `too_long`. `detail` is for people.
    """
    return InvalidRequest(FieldError(pointer=json_pointer(field_name), code=code, detail=detail))
