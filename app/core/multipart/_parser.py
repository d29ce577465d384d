"""Split a multipart body (RFC 2046) into its parts while it arrives, without copying their content.

A body with two parts looks like this, where each line ends with CR LF:

    preamble, which is ignored
    --boundary
    Content-Disposition: form-data; name="name"

    content of the first part
    --boundary
    Content-Disposition: form-data; name="file"; filename="a.txt"

    content of the second part
    --boundary--
    epilogue, which is ignored

A line that consists of `--boundary` is called a delimiter. The CR LF before it belongs to it and
not to the content. Blanks may follow the boundary, and anything may follow `--boundary--`.

RFC 2046 obliges a receiver to accept a preamble, blanks after each boundary, folded header lines,
and parts without content. The library python-multipart 0.0.34 refuses the first three of them,
takes the next delimiter for the content of an empty part, and does not tell a client what is wrong.
"""

from collections.abc import Generator, Iterator
from enum import Enum, auto
from typing import Final

from app.core.errors import MalformedRequest
from app.core.multipart._delimiters import CRLF, LineEnd, find_delimiter
from app.core.multipart._part_headers import LINE_END_DETAIL, PartHeaders, parse_part_headers
from app.core.sizes import format_size

# The limits are in bytes. The ignored text and the headers of two parts together have less than
# `MAX_FORM_OVERHEAD`.
MAX_IGNORED_SIZE: Final = 8 * 1024  # of the preamble, and of the epilogue
MAX_PART_HEADERS_SIZE: Final = 16 * 1024
_BLANK_LINE: Final = b"\r\n\r\n"
_NO_BOUNDARY_DETAIL: Final = (
    "The body contains no line that consists of the boundary of Content-Type and ends with CR LF"
)

# A body is read as a sequence of pieces: the headers of a part, then chunks of its content, then
# the headers of the next part, and so on.
ContentChunk = bytes | memoryview
FormPiece = PartHeaders | ContentChunk
# Yields pieces, and returns the position in the data at which the next section of the body begins.
_Step = Generator[FormPiece, None, int | None]


class _State(Enum):
    """The section of the body that the parser is in."""

    PREAMBLE = auto()
    HEADERS = auto()
    CONTENT = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Parses a multipart body, chunk by chunk."""

    def __init__(self, boundary: bytes) -> None:
        """Create a parser for one body, whose delimiters contain the boundary."""
        self._delimiter = b"\r\n--" + boundary
        self._state = _State.PREAMBLE
        # The end of the last chunk, if its meaning depends on the next chunk. The first delimiter
        # may be at the start of the body, so begin as if a line had ended before it.
        self._unparsed = b"\n"
        # True until the first byte of the content of a part has been parsed.
        self._is_content_start = False
        self._ignored_bytes = 0
        self._is_empty = True

    def parse(self, chunk: bytes) -> Iterator[FormPiece]:
        """Parse the next chunk of the body. Yield the pieces of the form that it completes.

        Iterate to the end before the next chunk is parsed. A chunk is only parsed as far as the
        caller iterates.

        Raises `MalformedRequest` if the body is malformed, and the errors of `parse_part_headers`.
        """
        # This copies the chunk only if some bytes of the last chunk could not be parsed yet.
        data = self._unparsed + chunk
        self._unparsed = b""
        if chunk:
            self._is_empty = False
        position: int | None = 0
        while position is not None:
            position = yield from self._parse_section(data, position)

    def finish(self) -> None:
        """Raise `MalformedRequest` if the body ended before the end of the form."""
        if self._is_empty:
            raise MalformedRequest("The body is empty")
        if self._state is _State.PREAMBLE:
            raise MalformedRequest(_NO_BOUNDARY_DETAIL)
        if self._state is _State.HEADERS:
            raise MalformedRequest(_explain_endless_headers(self._unparsed))
        if self._state is _State.CONTENT:
            raise MalformedRequest("The form ends before its closing boundary")

    def _parse_section(self, data: bytes, position: int) -> _Step:
        """Parse the rest of the current section of the body, from `position` on.

        Returns the position at which the next section begins, or None if the next chunk is needed
        first. The methods for each section return the same.
        """
        if self._state is _State.PREAMBLE:
            return self._parse_preamble(data, position)
        if self._state is _State.HEADERS:
            return (yield from self._parse_headers(data, position))
        if self._state is _State.CONTENT:
            return (yield from self._parse_content(data, position))
        self._ignore(len(data) - position)
        return None

    def _parse_preamble(self, data: bytes, position: int) -> int | None:
        """Skip everything before the first delimiter, whose line may follow a bare LF."""
        first_delimiter = self._delimiter.removeprefix(b"\r")
        start, line_end, end = find_delimiter(data, position, first_delimiter)
        if data.find(first_delimiter + b"\n", position, start + 1) != -1:
            raise MalformedRequest(LINE_END_DETAIL)
        self._ignore(start - position)
        return self._continue_after_delimiter(data, start, line_end, end)

    def _parse_headers(self, data: bytes, position: int) -> _Step:
        """Parse the headers of a part. `position` is that of the CR LF before them."""
        end = data.find(_BLANK_LINE, position)
        is_complete = end != -1
        if not is_complete:
            end = len(data)
        if end - position > MAX_PART_HEADERS_SIZE:
            raise MalformedRequest(_explain_endless_headers(data[position:end]))
        if not is_complete:
            self._unparsed = data[position:]
            return None
        yield parse_part_headers(data[position + len(CRLF) : end])
        self._state = _State.CONTENT
        self._is_content_start = True
        # The blank line is parsed with the content, because its CR LF may already belong to the
        # delimiter: a part without content may end there.
        return end + len(CRLF)

    def _parse_content(self, data: bytes, position: int) -> _Step:
        """Parse the content of a part up to the next delimiter."""
        content_start = position
        if self._is_content_start:
            content_start += len(CRLF)
        start, line_end, end = find_delimiter(data, position, self._delimiter)
        if start > position:
            self._is_content_start = False
        if start > content_start:
            yield memoryview(data)[content_start:start]
        return self._continue_after_delimiter(data, start, line_end, end)

    def _continue_after_delimiter(
        self, data: bytes, start: int, line_end: LineEnd, end: int
    ) -> int | None:
        """Change the state after a delimiter, given by the result of `find_delimiter`."""
        if line_end is LineEnd.UNKNOWN:
            self._unparsed = data[start:]
            return None
        self._state = _State.HEADERS
        if line_end is LineEnd.END_OF_FORM:
            self._state = _State.EPILOGUE
            self._ignored_bytes = 0
        return end

    def _ignore(self, byte_count: int) -> None:
        """Count bytes of the preamble or the epilogue. Raise `MalformedRequest` if too many."""
        self._ignored_bytes += byte_count
        if self._ignored_bytes <= MAX_IGNORED_SIZE:
            return
        if self._state is _State.PREAMBLE:
            raise MalformedRequest(_NO_BOUNDARY_DETAIL)
        raise MalformedRequest(
            f"More than {format_size(MAX_IGNORED_SIZE)} follow the closing boundary of the form"
        )


def _explain_endless_headers(headers: bytes) -> str:
    """Return the text for a client whose part has headers that do not end with a blank line."""
    if b"\n" in headers.replace(CRLF, b""):
        return LINE_END_DETAIL
    if len(headers) > MAX_PART_HEADERS_SIZE:
        return (
            f"The headers of a part of the form must not exceed"
            f" {format_size(MAX_PART_HEADERS_SIZE)}"
        )
    return "The form ends within the headers of a part"
