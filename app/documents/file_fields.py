"""The types of the fields that describe a file: its name, media type, size and SHA-256."""

import re
import unicodedata
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.patterns import SHA256_PATTERN
from app.core.schemas import MAX_INT64, string_of_length
from app.core.visible_text import has_visible_character

# A media type (RFC 6838) with parameters, for example `text/plain; charset="utf-8"`.
_WORD_PATTERN: Final = r"[A-Za-z0-9!#$&^_.+-]+"
_PARAMETER_PATTERN: Final = rf'[ \t]*;[ \t]*{_WORD_PATTERN}=({_WORD_PATTERN}|"[ !#-\[\]-~]*")'
_MEDIA_TYPE_PATTERN: Final = rf"^{_WORD_PATTERN}/{_WORD_PATTERN}({_PARAMETER_PATTERN})*$"
# The Unicode categories of control characters, line separators and paragraph separators.
_UNPRINTABLE_CATEGORIES: Final = {"Cc", "Zl", "Zp"}


def clean_filename(filename: str) -> str:
    """Remove the folders and the control characters from a filename that a client sent.

    For example, `C:\\files\\thesis.pdf` becomes `thesis.pdf`. Returns `unnamed` if nothing is left
    that people can see.
    """
    printable_characters = [
        character
        for character in filename
        if unicodedata.category(character) not in _UNPRINTABLE_CATEGORIES
    ]
    path = "".join(printable_characters).replace("\\", "/")
    name_without_folders = path.rpartition("/")[2]
    if name_without_folders in {".", ".."} or not has_visible_character(name_without_folders):
        return "unnamed"
    return name_without_folders


def _validate_media_type(value: str) -> str:
    """Return the media type. Raise a validation error if it is malformed."""
    if not re.fullmatch(_MEDIA_TYPE_PATTERN, value):
        raise PydanticCustomError("content_type", "Must be a media type such as application/pdf")
    return value


def _convert_whole_float_to_int(value: Any) -> Any:
    """Convert a float without a fraction to an integer: 10.0 becomes 10.

    In JSON, both are the same number. Any other value is returned unchanged, to be validated next.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Filename = Annotated[
    str, Field(strict=True, min_length=1, max_length=255), AfterValidator(clean_filename)
]
ContentType = Annotated[
    str,
    string_of_length(1, 255),
    AfterValidator(_validate_media_type),
    WithJsonSchema({"type": "string", "maxLength": 255, "pattern": _MEDIA_TYPE_PATTERN}),
]
FileSize = Annotated[
    int, Field(strict=True, ge=1, le=MAX_INT64), BeforeValidator(_convert_whole_float_to_int)
]
Sha256Digest = Annotated[str, string_of_length(64, 64), SHA256_PATTERN]
