"""Read a multipart form (RFC 7578) as a stream: the headers of each part, then its content."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.errors import MalformedRequest, PayloadTooLarge, UnsupportedMediaType
from app.documents.form_fields import invalid_field

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# The largest size of a form without the content of its file.
MAX_FORM_OVERHEAD: Final = 64 * 1024  # bytes
# The values of Content-Transfer-Encoding that leave the bytes of a part as they are.
_IDENTITY_ENCODINGS: Final = {"", "7bit", "8bit", "binary"}


@dataclass(frozen=True)
class PartHeaders:
    """The headers of one part of a form. `filename` is None for a text field."""

    field_name: str
    filename: str | None
    content_type: str


# A form is read as a sequence of pieces: the headers of a part, then chunks of its content, then
# the headers of the next part, and so on.
ContentChunk = bytes | memoryview
FormPiece = PartHeaders | ContentChunk


class PartWriter(Protocol):
    """Receives the content of one part of a form."""

    async def write(self, chunk: ContentChunk) -> None:
        """Process the next bytes of the part."""


class MultipartForm:
    """The multipart form in the body of a request. It can be read once."""

    def __init__(self, headers: Mapping[str, str], body: AsyncIterator[bytes]) -> None:
        """Check the headers of the request, and prepare to read its body.

        Raises `UnsupportedMediaType` if the body is not a multipart form or is compressed, and
        `MalformedRequest` if the Content-Type header has no valid boundary.

        Args:
            headers: The headers of the request, with names in lower case.
            body: The chunks of the request body, as they arrive.
        """
        self._body = body
        # Zero if the client does not announce the length.
        self._content_length = 0
        content_length = headers.get("content-length", "")
        if content_length.isdecimal():
            self._content_length = int(content_length)
        media_type, options = parse_options_header(headers.get("content-type"))
        encoding = headers.get("content-encoding", "").lower() or "identity"
        if media_type != b"multipart/form-data" or encoding != "identity":
            raise UnsupportedMediaType
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedRequest
        self._collector = _PieceCollector()
        try:
            self._parser = MultipartParser(boundary, self._collector.callbacks())
        except FormParserError:
            raise MalformedRequest from None

    async def read(
        self, max_file_size: int, open_writer: Callable[[PartHeaders], Awaitable[PartWriter]]
    ) -> dict[str, PartWriter]:
        """Read the form to its end, and write the content of each part to a writer of its own.

        Returns the writers by the field names of their parts.

        Raises `InvalidRequest` if a field name is repeated, `PayloadTooLarge` if the form is too
        large to contain a file of at most `max_file_size` bytes, and `MalformedRequest` if it
        cannot be parsed or is cut short.

        Args:
            max_file_size: The largest allowed file, in bytes.
            open_writer: Called with the headers of each part. Returns the writer for its content.
        """
        max_form_size = max_file_size + MAX_FORM_OVERHEAD
        if self._content_length > max_form_size:
            raise PayloadTooLarge
        writers: dict[str, PartWriter] = {}
        current_writer: PartWriter | None = None
        async for piece in self._read_pieces(max_form_size):
            if isinstance(piece, PartHeaders):
                if piece.field_name in writers:
                    raise invalid_field(
                        piece.field_name,
                        code="repeated_field",
                        detail="The form contains this field more than once",
                    )
                current_writer = await open_writer(piece)
                writers[piece.field_name] = current_writer
            elif current_writer is not None:
                await current_writer.write(piece)
        return writers

    async def _read_pieces(self, max_form_size: int) -> AsyncIterator[FormPiece]:
        """Yield the headers of each part, followed by the chunks of its content."""
        received_bytes = 0
        async for chunk in self._body:
            received_bytes += len(chunk)
            if received_bytes > max_form_size:
                raise PayloadTooLarge
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise MalformedRequest from None
            for piece in self._collector.take_pieces():
                yield piece
        if not self._collector.is_complete:
            raise MalformedRequest


class _PieceCollector:
    """Turns the callbacks of the multipart parser into a list of form pieces.

    The parser calls back for every header name, header value and content chunk. It passes a buffer
    with the start and the end of a slice. A name or value may come in several slices.
    """

    def __init__(self) -> None:
        # True once the closing boundary of the form has arrived.
        self.is_complete = False
        self._pieces: list[FormPiece] = []
        # The complete headers of the part whose headers are being parsed.
        self._headers: dict[str, str] = {}
        # The header that is being parsed.
        self._header_name = b""
        self._header_value = b""

    def callbacks(self) -> "MultipartCallbacks":
        """Return the methods that the parser has to call."""
        return {
            "on_header_field": self._add_to_header_name,
            "on_header_value": self._add_to_header_value,
            "on_header_end": self._finish_header,
            "on_headers_finished": self._finish_part_headers,
            "on_part_data": self._add_content_chunk,
            "on_end": self._finish_form,
        }

    def take_pieces(self) -> list[FormPiece]:
        """Return the pieces that were parsed since the last call."""
        pieces = self._pieces
        self._pieces = []
        return pieces

    def _add_to_header_name(self, buffer: bytes, start: int, end: int) -> None:
        self._header_name += buffer[start:end]

    def _add_to_header_value(self, buffer: bytes, start: int, end: int) -> None:
        self._header_value += buffer[start:end]

    def _finish_header(self) -> None:
        header_name = self._header_name.decode("ascii").lower()
        self._headers[header_name] = self._header_value.decode("latin-1")
        self._header_name = b""
        self._header_value = b""

    def _finish_part_headers(self) -> None:
        self._pieces.append(_parse_part_headers(self._headers))
        self._headers = {}

    def _add_content_chunk(self, buffer: bytes, start: int, end: int) -> None:
        # A memoryview does not copy the bytes.
        self._pieces.append(memoryview(buffer)[start:end])

    def _finish_form(self) -> None:
        self.is_complete = True


def _parse_part_headers(headers: Mapping[str, str]) -> PartHeaders:
    """Parse the headers of one part. Their names are in lower case. Example of a part:

        Content-Disposition: form-data; name="file"; filename="thesis.pdf"
        Content-Type: application/pdf

    Raises `MalformedRequest` if the field name is missing, a name is not valid UTF-8, or the
    content is encoded, for example with base64.
    """
    disposition, options = parse_options_header(headers.get("content-disposition"))
    if disposition != b"form-data" or b"name" not in options:
        raise MalformedRequest
    transfer_encoding = headers.get("content-transfer-encoding", "").strip().lower()
    if transfer_encoding not in _IDENTITY_ENCODINGS:
        raise MalformedRequest
    try:
        field_name = options[b"name"].decode()
        filename = None
        if b"filename" in options:
            filename = options[b"filename"].decode()
    except UnicodeDecodeError:
        raise MalformedRequest from None
    content_type = headers.get("content-type", "application/octet-stream")
    return PartHeaders(field_name, filename, content_type)
