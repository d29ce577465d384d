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
from app.core.multipart._charsets import decode_text, is_known_charset

MAX_TEXT_FIELD_SIZE: Final = 1024  # bytes
ModelT = TypeVar("ModelT", bound=BaseModel)


class TextField:
    """The content of a text field of a form. It arrives in chunks and is collected in memory."""

    def __init__(self, field_name: str, charset: str) -> None:
        """Create an empty field. Errors point to `field_name`.

        Raises `InvalidRequest` if the charset is unknown.
        """
        self._field_name = field_name
        self._charset = charset
        self._content = bytearray()
        if not is_known_charset(charset):
            raise create_invalid_field_error(
                field_name,
                code="charset",
                detail="The charset of the field is not supported; send UTF-8",
            )

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
        """Return the text of the field. Raises `InvalidRequest` if it is not in its charset."""
        try:
            return decode_text(self._content, self._charset)
        except UnicodeDecodeError:
            raise create_invalid_field_error(
                self._field_name,
                code="utf8",
                detail="The text of the field is not valid UTF-8, or not valid in the charset that"
                " the Content-Type of the field names",
            ) from None


class MissingFile:
    """The content of a file field without a filename, which must be empty.

    A browser sends it if the user did not choose a file.
    """

    def __init__(self, field_name: str) -> None:
        """Create the field. Errors point to `field_name`."""
        self._field_name = field_name

    async def write(self, chunk: bytes | memoryview) -> None:
        """Raise `InvalidRequest` as soon as there is content."""
        if chunk:
            raise create_invalid_field_error(
                self._field_name, code="not_a_file", detail="Must be a file with a filename"
            )


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
