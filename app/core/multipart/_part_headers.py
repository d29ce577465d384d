"""Parse the headers of one part of a multipart form (RFC 7578)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.core.errors import MalformedRequest
from app.core.header_parameters import InvalidParameters, parse_header_parameters
from app.core.multipart._fields import create_invalid_field_error
from app.core.multipart._filenames import InvalidFilename, read_filename

MAX_PART_HEADERS: Final = 32
LINE_END_DETAIL: Final = "The boundaries and the header lines of a form must end with CR LF"
# The other headers of a part are ignored.
_USED_HEADERS: Final = {"content-disposition", "content-type", "content-transfer-encoding"}
# The values of Content-Transfer-Encoding that leave the bytes of a part as they are.
_IDENTITY_ENCODINGS: Final = {"", "7bit", "8bit", "binary"}
# A line that begins with a blank continues the header of the line before it (RFC 5322, 2.2.3).
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_HEADER_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True)
class PartHeaders:
    """The headers of one part of a multipart form. `filename` is None for a text field."""

    field_name: str
    filename: str | None
    # None if the part does not have the header Content-Type.
    content_type: str | None

    @property
    def charset(self) -> str:
        """The charset of a text field, for example `ISO-8859-1`. UTF-8 is the default."""
        try:
            _, parameters = parse_header_parameters(self.content_type or "")
        except InvalidParameters:
            return "UTF-8"
        return parameters.get("charset") or "UTF-8"


def parse_part_headers(header_block: bytes) -> PartHeaders:
    """Parse the header lines of a part, each of which ends with CR LF.

    For example, these lines become `PartHeaders("file", "thesis.pdf", "application/pdf")`:

        Content-Disposition: form-data; name="file"; filename="thesis.pdf"
        Content-Type: application/pdf

    Raises `MalformedRequest` if a line is malformed, if the part has no field name, or if its
    content is encoded, for example with base64. Raises `InvalidRequest` if the filename cannot be
    decoded.
    """
    headers = _read_headers(header_block)
    _check_transfer_encoding(headers.get("content-transfer-encoding", ""))
    parameters = _parse_disposition(headers.get("content-disposition"))
    content_type = headers.get("content-type")
    field_name = _read_field_name(parameters)
    try:
        filename = read_filename(parameters)
    except InvalidFilename as error:
        raise create_invalid_field_error(field_name, code="filename", detail=str(error)) from None
    _check_not_nested(content_type, filename)
    return PartHeaders(field_name, filename, content_type)


def _read_headers(header_block: bytes) -> dict[str, str]:
    """Return the headers of a part that matter, by their names in lower case.

    In the values, a byte that is not UTF-8 becomes a surrogate character.
    """
    headers: dict[str, str] = {}
    for name, value in _split_headers(header_block):
        if name in headers:
            # Programs differ in which of the two they use.
            raise MalformedRequest(f"A part of the form has the header {name} twice")
        if name in _USED_HEADERS:
            headers[name] = value.decode(errors="surrogateescape").strip(" \t")
    return headers


def _split_headers(header_block: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name in lower case and the value of each header, for example `x-id`, `b" 7"`."""
    unfolded_block = _FOLD.sub(b" ", header_block)
    if not unfolded_block:
        return
    lines = unfolded_block.split(b"\r\n")
    if len(lines) > MAX_PART_HEADERS:
        raise MalformedRequest(f"A part of the form has more than {MAX_PART_HEADERS} headers")
    for line in lines:
        if b"\r" in line or b"\n" in line:
            raise MalformedRequest(LINE_END_DETAIL)
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise MalformedRequest(
                "A header line of a part of the form does not begin with a name and a colon"
            )
        yield name.decode().lower(), value


def _check_transfer_encoding(transfer_encoding: str) -> None:
    """Raise `MalformedRequest` if the content of a part would have to be decoded first."""
    if transfer_encoding.lower() not in _IDENTITY_ENCODINGS:
        raise MalformedRequest(
            "Content-Transfer-Encoding of a part of the form must be binary, 8bit or 7bit; send"
            " the bytes of a file as they are"
        )


def _parse_disposition(content_disposition: str | None) -> dict[str, str]:
    """Return the parameters of Content-Disposition. Raises `MalformedRequest` if it is wrong."""
    if content_disposition is None:
        raise MalformedRequest("A part of the form has no header Content-Disposition")
    try:
        disposition, parameters = parse_header_parameters(content_disposition)
    except InvalidParameters as error:
        raise MalformedRequest(f"Content-Disposition of a part of the form {error}") from None
    if disposition != "form-data":
        raise MalformedRequest("Content-Disposition of a part of the form must be form-data")
    return parameters


def _check_not_nested(content_type: str | None, filename: str | None) -> None:
    """Raise `MalformedRequest` if a part contains several files, which RFC 7578 forbids.

    A part with a filename is a file, which may be a multipart message itself.
    """
    is_multipart = content_type is not None and content_type.lower().startswith("multipart/")
    if is_multipart and filename is None:
        raise MalformedRequest(
            "A part of the form must not be a multipart message itself; send each file as a part"
        )


def _read_field_name(parameters: dict[str, str]) -> str:
    """Return the name of the field. Raises `MalformedRequest` if it is missing or not UTF-8."""
    field_name = parameters.get("name")
    if field_name is None:
        raise MalformedRequest("Content-Disposition of a part of the form has no parameter `name`")
    try:
        field_name.encode()
    except UnicodeEncodeError:
        raise MalformedRequest("The name of a field of the form is not valid UTF-8") from None
    return field_name
