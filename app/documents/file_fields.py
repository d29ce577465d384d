"""The types of the fields that describe a file: its name, media type, size and SHA-256."""

import re
import unicodedata
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticKnownError

from app.core.patterns import SHA256_PATTERN
from app.core.schemas import MAX_INT64, string_of_length
from app.core.visible_text import has_visible_character

# The longest path of Windows. A client may send the whole path of a file as its name.
MAX_SENT_LENGTH: Final = 32_768  # characters
MAX_FILENAME_LENGTH: Final = 255  # characters
MAX_CONTENT_TYPE_LENGTH: Final = 255  # characters
# The media type of a file whose content is unknown (RFC 2046, 4.5.1).
UNKNOWN_CONTENT_TYPE: Final = "application/octet-stream"
# A media type (RFC 9110, 8.3.1) with parameters, for example `text/plain; charset="utf-8"`. Empty
# parameters are allowed. A quoted value is limited to ASCII, because it becomes a header of the
# store's response.
_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED_STRING: Final = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*+"'
_MEDIA_TYPE: Final = re.compile(
    rf"{_WORD}/{_WORD}(?:[ \t]*+;[ \t]*+(?:{_WORD}=(?:{_WORD}|{_QUOTED_STRING}))?)*+"
)
# The Unicode categories of control characters, line separators and paragraph separators.
_UNPRINTABLE_CATEGORIES: Final = {"Cc", "Zl", "Zp"}


def clean_filename(filename: str) -> str:
    """Remove the folders and the control characters from a filename that a client sent.

    For example, `C:\\files\\thesis.pdf` becomes `thesis.pdf`. Returns `unnamed` if nothing is left
    that people can see. Raises a validation error if the rest is too long.
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
    if len(name_without_folders) > MAX_FILENAME_LENGTH:
        raise PydanticKnownError("string_too_long", {"max_length": MAX_FILENAME_LENGTH})
    return name_without_folders


def _replace_invalid_media_type(value: Any) -> Any:
    """Remove the blanks around a media type, or replace it by that of unknown content.

    A file is not refused for a malformed media type, because clients get it from the operating
    system, which may not know the type or have a wrong entry for it. A value that is not a string,
    or is longer than any that the API accepts, is returned unchanged, to be refused next.
    """
    if not isinstance(value, str) or len(value) > MAX_SENT_LENGTH:
        return value
    media_type = value.strip(" \t")
    if len(media_type) > MAX_CONTENT_TYPE_LENGTH or not _MEDIA_TYPE.fullmatch(media_type):
        return UNKNOWN_CONTENT_TYPE
    return media_type


def _convert_whole_float_to_int(value: Any) -> Any:
    """Convert a float without a fraction to an integer: 10.0 becomes 10.

    In JSON, both are the same number. Any other value is returned unchanged, to be validated next.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Filename = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=MAX_SENT_LENGTH),
    AfterValidator(clean_filename),
    # The length is that of the name after the last slash or backslash.
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_SENT_LENGTH,
            "pattern": rf"^([\s\S]*[/\\])?[^/\\]{{0,{MAX_FILENAME_LENGTH}}}$",
        }
    ),
]
ContentType = Annotated[
    str,
    Field(strict=True, max_length=MAX_SENT_LENGTH),
    BeforeValidator(_replace_invalid_media_type),
]
FileSize = Annotated[
    int, Field(strict=True, ge=1, le=MAX_INT64), BeforeValidator(_convert_whole_float_to_int)
]
Sha256Digest = Annotated[str, string_of_length(64, 64), SHA256_PATTERN]
