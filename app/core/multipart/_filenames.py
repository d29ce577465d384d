"""Read the filename of a part of a form, which clients write in several ways."""

import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header
from itertools import count
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from app.core.multipart._charsets import decode_text

# The value of `filename*` (RFC 8187): a charset, an optional language, and text with percent
# escapes. Example: `UTF-8'es'Cien%20a%C3%B1os.pdf`
_EXTENDED_VALUE: Final = re.compile(
    r"(?P<charset>[^']+)'[^']*'(?P<text>(?:%[0-9A-Fa-f]{2}|[^%])*+)", re.ASCII | re.DOTALL
)
# A filename that consists of encoded words (RFC 2047), for example `=?utf-8?B?w6Qu?= =?utf-8?Q?a?=`
_ENCODED_WORDS: Final = re.compile(
    r"=\?[^?\s]+\?[BbQq]\?[^?\s]*+\?=(?:\s++=\?[^?\s]+\?[BbQq]\?[^?\s]*+\?=)*+"
)


class InvalidFilename(Exception):
    """The filename cannot be decoded. The message is a sentence for the client."""


def read_filename(parameters: Mapping[str, str]) -> str | None:
    """Return the filename in the parameters of Content-Disposition, or None if there is none.

    `filename*` is preferred to `filename`, as in RFC 6266, because clients that send both put an
    approximation into `filename`. RFC 7578 does not allow `filename*` in forms, but .NET and older
    versions of urllib3 send it, and email libraries send it in sections.

    Raises `InvalidFilename` if the filename cannot be decoded.

    Args:
        parameters: The parameters, in which a byte that is not UTF-8 is a surrogate character.
    """
    plain_value = parameters.get("filename")
    extended_value = parameters.get("filename*")
    if extended_value is None:
        extended_value = _join_sections(parameters)
    if extended_value is not None:
        try:
            return _decode_extended_value(extended_value)
        except InvalidFilename:
            if plain_value is None:
                raise
    if plain_value is None:
        return None
    try:
        plain_value.encode()
    except UnicodeEncodeError:
        raise InvalidFilename("The filename is not valid UTF-8") from None
    return _decode_encoded_words(plain_value)


def _join_sections(parameters: Mapping[str, str]) -> str | None:
    """Join the sections of a long filename to one value of `filename*`. Return None without any.

    The email library of Python sends sections (RFC 2231, section 3). For example,
    `filename*0*=UTF-8''a%C3; filename*1*=%B1o; filename*2=.pdf` becomes `UTF-8''a%C3%B1o.pdf`.
    """
    sections: list[str] = []
    for number in count():
        section = parameters.get(f"filename*{number}*")
        plain_section = parameters.get(f"filename*{number}")
        if section is None and plain_section is not None:
            section = quote(plain_section, errors="surrogateescape")
        if section is None:
            break
        sections.append(section)
    if not sections:
        return None
    if "filename*0*" not in parameters:
        # The first section is plain, so it has no charset.
        sections.insert(0, "UTF-8''")
    return "".join(sections)


def _decode_extended_value(value: str) -> str:
    """Decode the value of `filename*`, for example `UTF-8''a%C3%B1o.pdf`."""
    match = _EXTENDED_VALUE.fullmatch(value)
    if match is None or not value.isascii():
        raise InvalidFilename("filename* must be written as in RFC 8187: UTF-8''a%C3%B1o.pdf")
    try:
        return decode_text(unquote_to_bytes(match["text"]), match["charset"])
    except LookupError:
        raise InvalidFilename("The charset of filename* is not supported; send UTF-8") from None
    except UnicodeDecodeError:
        raise InvalidFilename("filename* is not valid in its charset") from None


def _decode_encoded_words(filename: str) -> str:
    """Decode a filename such as `=?utf-8?B?YcOxby5wZGY=?=`, which .NET, Spring and others send.

    A filename that does not consist of valid encoded words is returned unchanged.
    """
    if not _ENCODED_WORDS.fullmatch(filename):
        return filename
    try:
        words = [decode_text(word, str(charset)) for word, charset in decode_header(filename)]
    except (HeaderParseError, LookupError, UnicodeDecodeError):
        return filename
    return "".join(words)
