"""Read a multipart form (RFC 7578) as a stream: the headers of each part, then its content."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, Protocol

from app.core.errors import (
    MalformedRequest,
    PayloadTooLarge,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.core.header_parameters import InvalidParameters, parse_header_parameters
from app.core.multipart._fields import create_invalid_field_error
from app.core.multipart._parser import ContentChunk, FormPiece, MultipartParser
from app.core.multipart._part_headers import PartHeaders
from app.core.sizes import format_size

# How much larger a form may be than its file, because of boundaries, headers and text fields.
MAX_FORM_OVERHEAD: Final = 64 * 1024  # bytes
# RFC 2046 allows 70 characters, but some clients send more.
MAX_BOUNDARY_LENGTH: Final = 256


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
        content_encoding = headers.get("content-encoding", "").lower() or "identity"
        if content_encoding != "identity":
            raise UnsupportedContentEncoding
        self._parser = MultipartParser(_read_boundary(headers.get("content-type", "")))

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
            for piece in self._parser.parse(chunk):
                yield piece
        self._parser.finish()


def describe_form_limit(max_file_size: int) -> str:
    """Return the text for a client whose form is too large for a file of `max_file_size` bytes."""
    return (
        f"The file must not exceed {format_size(max_file_size)}, and the rest of the form"
        f" {format_size(MAX_FORM_OVERHEAD)}"
    )


def _read_boundary(content_type: str) -> bytes:
    """Return the boundary that the Content-Type of a form names.

    Example: `multipart/form-data; boundary=9051914041544843365972754266`

    Raises `UnsupportedMediaType` if the body is not a form, and `MalformedRequest` if the boundary
    is missing or wrong.
    """
    media_type = content_type.partition(";")[0].strip(" \t").lower()
    if media_type != "multipart/form-data":
        raise UnsupportedMediaType
    try:
        _, parameters = parse_header_parameters(content_type)
    except InvalidParameters as error:
        raise MalformedRequest(f"The header Content-Type {error}") from None
    # A boundary does not end with a blank (RFC 2046, 5.1.1). A gateway may have added it.
    boundary = parameters.get("boundary", "").rstrip(" ")
    if not boundary:
        raise MalformedRequest(
            "The header Content-Type has no boundary. An HTTP client adds it, unless the header is"
            " set by hand."
        )
    if len(boundary) > MAX_BOUNDARY_LENGTH or not _is_printable_ascii(boundary):
        raise MalformedRequest(
            f"The boundary in Content-Type must have at most {MAX_BOUNDARY_LENGTH} characters, all"
            " of them printable ASCII"
        )
    return boundary.encode()


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()
