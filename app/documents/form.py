"""Read a multipart form (RFC 7578) as a stream: the headers of each part, then its content."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.errors import (
    MalformedRequest,
    PayloadTooLarge,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.core.sizes import format_size
from app.documents.form_fields import create_invalid_field_error

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# How much larger a form may be than its file, because of boundaries, headers and text fields.
MAX_FORM_OVERHEAD: Final = 64 * 1024  # bytes
# The values of Content-Transfer-Encoding that leave the bytes of a part as they are.
_IDENTITY_ENCODINGS: Final = {"", "7bit", "8bit", "binary"}


@dataclass(frozen=True)
class PartHeaders:
    """The headers of one part of a multipart form. `filename` is None for a text field."""

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
        """Check the headers of the request and create a parser for its body, which is read later.

        Raises `UnsupportedMediaType` if the body is not a multipart form,
        `UnsupportedContentEncoding` if it is compressed, and `MalformedRequest` if the Content-Type
        header has no valid boundary.

        Args:
            headers: The headers of the request, with names in lower case.
            body: The chunks of the request body, as they arrive.
        """
        self._body = body
        # The smallest possible size of the file in bytes: the announced size of the form, without
        # its largest possible overhead. It is 0 if the client did not announce a size.
        self.min_file_size = 0
        content_length = headers.get("content-length", "")
        if content_length.isdecimal():
            self.min_file_size = max(0, int(content_length) - MAX_FORM_OVERHEAD)
        # Example: `Content-Type: multipart/form-data; boundary=9051914041544843365972754266`
        media_type, content_type_options = parse_options_header(headers.get("content-type"))
        content_encoding = headers.get("content-encoding", "").lower() or "identity"
        if content_encoding != "identity":
            raise UnsupportedContentEncoding
        if media_type != b"multipart/form-data":
            raise UnsupportedMediaType
        boundary = content_type_options.get(b"boundary")
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
        """Read the whole form, and write the content of each part to a separate writer.

        Returns the writers by field name, for example `{"name": text_field, "file": upload}`.

        Raises `InvalidRequest` if a field name is repeated, `PayloadTooLarge` if the form is too
        large to contain a file of at most `max_file_size` bytes, and `MalformedRequest` if it
        cannot be parsed or is cut short.

        Args:
            max_file_size: The largest allowed file, in bytes.
            open_writer: Called with the headers of each part to create the writer for its content.
        """
        writers: dict[str, PartWriter] = {}
        current_writer: PartWriter | None = None
        async for piece in self._read_pieces(max_file_size):
            if isinstance(piece, PartHeaders):
                if piece.field_name in writers:
                    raise create_invalid_field_error(
                        piece.field_name,
                        code="repeated_field",
                        detail="The form contains this field more than once",
                    )
                current_writer = await open_writer(piece)
                writers[piece.field_name] = current_writer
            elif current_writer is not None:
                # The piece is a chunk of the content of the current part.
                await current_writer.write(piece)
        return writers

    async def _read_pieces(self, max_file_size: int) -> AsyncIterator[FormPiece]:
        """Parse the body while it arrives. Yield the headers of each part, then its content chunks.

        Raises `PayloadTooLarge` if the body is too large to contain a file of at most
        `max_file_size` bytes, and `MalformedRequest` if it cannot be parsed or ends too early.
        """
        max_form_size = max_file_size + MAX_FORM_OVERHEAD
        received_bytes = 0
        async for chunk in self._body:
            received_bytes += len(chunk)
            if received_bytes > max_form_size:
                raise PayloadTooLarge(describe_form_limit(max_file_size))
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise MalformedRequest from None
            for piece in self._collector.take_pieces():
                yield piece
        if not self._collector.is_complete:
            raise MalformedRequest


def describe_form_limit(max_file_size: int) -> str:
    """Return the text for a client whose form is too large for a file of `max_file_size` bytes."""
    return (
        f"The file must not exceed {format_size(max_file_size)}, and the rest of the form"
        f" {format_size(MAX_FORM_OVERHEAD)}"
    )


class _PieceCollector:
    """Collects what the multipart parser has parsed as a list of form pieces.

    The parser calls a method for every header name, header value and content chunk. It passes a
    buffer with the start and the end of a slice. A name or value may arrive in several slices.
    """

    def __init__(self) -> None:
        """Create an empty collector for one form."""
        # True once the closing boundary of the form has arrived.
        self.is_complete = False
        self._pieces: list[FormPiece] = []
        # The complete headers of the part whose headers are being parsed.
        self._headers: dict[str, str] = {}
        # The header that is being parsed.
        self._header_name = b""
        self._header_value = b""

    def callbacks(self) -> "MultipartCallbacks":
        """Return the methods that the parser calls, by the names that the parser has for them."""
        return {
            "on_header_field": self._add_to_header_name,
            "on_header_value": self._add_to_header_value,
            "on_header_end": self._finish_header,
            "on_headers_finished": self._finish_part_headers,
            "on_part_data": self._add_content_chunk,
            "on_end": self._finish_form,
        }

    def take_pieces(self) -> list[FormPiece]:
        """Return the pieces that were parsed since the last call of this method."""
        pieces = self._pieces
        self._pieces = []
        return pieces

    def _add_to_header_name(self, buffer: bytes, start: int, end: int) -> None:
        self._header_name += buffer[start:end]

    def _add_to_header_value(self, buffer: bytes, start: int, end: int) -> None:
        self._header_value += buffer[start:end]

    def _finish_header(self) -> None:
        """Add the complete header to the headers of the current part."""
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
    """Parse the headers of one part of a form, given by their names in lower case.

    For example, these headers become `PartHeaders("file", "thesis.pdf", "application/pdf")`:

        Content-Disposition: form-data; name="file"; filename="thesis.pdf"
        Content-Type: application/pdf

    Raises `MalformedRequest` if the field name is missing, a name is not valid UTF-8, or the
    content is encoded, for example with base64.
    """
    disposition, disposition_options = parse_options_header(headers.get("content-disposition"))
    if disposition != b"form-data" or b"name" not in disposition_options:
        raise MalformedRequest
    transfer_encoding = headers.get("content-transfer-encoding", "").strip().lower()
    if transfer_encoding not in _IDENTITY_ENCODINGS:
        raise MalformedRequest
    try:
        field_name = disposition_options[b"name"].decode()
        filename = None
        if b"filename" in disposition_options:
            filename = disposition_options[b"filename"].decode()
    except UnicodeDecodeError:
        raise MalformedRequest from None
    content_type = headers.get("content-type", "application/octet-stream")
    return PartHeaders(field_name, filename, content_type)
