"""The types of the fields that describe a file: its name, media type, size and SHA-256."""

import re
import unicodedata
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.patterns import SHA256_PATTERN
from app.core.schemas import MAX_INT64, string_of_length

# A media type (RFC 6838) with parameters, for example `text/plain; charset="utf-8"`.
_WORD_PATTERN: Final = r"[A-Za-z0-9!#$&^_.+-]+"
_PARAMETER_PATTERN: Final = rf'[ \t]*;[ \t]*{_WORD_PATTERN}=({_WORD_PATTERN}|"[ !#-\[\]-~]*")'
_MEDIA_TYPE_PATTERN: Final = rf"^{_WORD_PATTERN}/{_WORD_PATTERN}({_PARAMETER_PATTERN})*$"
# The Unicode categories of control characters, line separators and paragraph separators.
_UNPRINTABLE_CATEGORIES: Final = {"Cc", "Zl", "Zp"}


def clean_filename(value: str) -> str:
    """Remove the folders and the control characters from a filename that a client sent.

    For example, `C:\\files\\thesis.pdf` becomes `thesis.pdf`. If nothing is left, the filename is
    `unnamed`.
    """
    printable = [
        character
        for character in value
        if unicodedata.category(character) not in _UNPRINTABLE_CATEGORIES
    ]
    path = "".join(printable).replace("\\", "/")
    name = path.rpartition("/")[2]
    if name in {"", ".", ".."}:
        return "unnamed"
    return name


def _check_media_type(value: str) -> str:
    if not re.fullmatch(_MEDIA_TYPE_PATTERN, value):
        raise PydanticCustomError("content_type", "Must be a media type such as application/pdf")
    return value


def _integral_float_to_int(value: Any) -> Any:
    """Convert a float such as 10.0 to 10, because JSON does not distinguish them.

    Returns every other value unchanged.
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
    AfterValidator(_check_media_type),
    WithJsonSchema({"type": "string", "maxLength": 255, "pattern": _MEDIA_TYPE_PATTERN}),
]
FileSize = Annotated[
    int, Field(strict=True, ge=1, le=MAX_INT64), BeforeValidator(_integral_float_to_int)
]
Sha256Digest = Annotated[str, string_of_length(64, 64), SHA256_PATTERN]
