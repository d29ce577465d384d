"""Read a multipart form (RFC 7578) as a stream: the head of each part, and then its bytes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.errors import (
    Fault,
    InvalidRequest,
    MalformedRequest,
    PayloadTooLarge,
    UnsupportedMediaType,
    pointer,
    reason,
)

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# The largest size of a form without its file.
MAX_OVERHEAD: Final = 64 * 1024  # bytes
MAX_TEXT: Final = 1024  # bytes of a text field
# The values of Content-Transfer-Encoding that leave the bytes of a part as they are.
_IDENTITY_ENCODINGS: Final = {"", "7bit", "8bit", "binary"}
Bytes = bytes | memoryview
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Part:
    """The head of a part. `filename` is None for a text field."""

    name: str
    filename: str | None
    content_type: str


class Sink(Protocol):
    """Takes the bytes of one part."""

    async def write(self, data: Bytes) -> None:
        """Take the next bytes."""


class TextField:
    """A sink that holds the value of a text field."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._value = bytearray()

    async def write(self, data: Bytes) -> None:
        self._value += data
        if len(self._value) > MAX_TEXT:
            raise field_error(self._name, "too_long", f"At most {MAX_TEXT} bytes")

    def value(self) -> str:
        try:
            return self._value.decode()
        except UnicodeDecodeError:
            raise field_error(self._name, "utf8", "Must be UTF-8") from None


class Form:
    """The form of a request. It can be read once."""

    def __init__(self, headers: Mapping[str, str], stream: AsyncIterator[bytes]) -> None:
        """Check the headers of the request. `stream` returns its body as it arrives.

        Raises `UnsupportedMediaType` if the body is not a multipart form.
        """
        content_length = headers.get("content-length", "")
        self._length = int(content_length) if content_length.isdecimal() else 0
        self._stream = stream
        media_type, options = parse_options_header(headers.get("content-type"))
        encoding = headers.get("content-encoding", "").lower() or "identity"
        if media_type != b"multipart/form-data" or encoding != "identity":
            raise UnsupportedMediaType
        boundary = options.get(b"boundary")
        if not boundary:
            raise MalformedRequest
        self._events = _ParserEvents()
        try:
            self._parser = MultipartParser(boundary, self._events.callbacks())
        except FormParserError:
            raise MalformedRequest from None

    async def read(
        self, max_file_size: int, open_sink: Callable[[Part], Awaitable[Sink]]
    ) -> dict[str, Sink]:
        """Read the form to its end. Return the sinks by the names of their parts.

        `open_sink` is called with the head of each part and returns the sink for its bytes.

        Raises `InvalidRequest` if a name is repeated, `PayloadTooLarge` if the form cannot be that
        of a file of at most `max_file_size` bytes, and `MalformedRequest` if it is cut short.
        """
        max_size = max_file_size + MAX_OVERHEAD
        if self._length > max_size:
            raise PayloadTooLarge
        sinks: dict[str, Sink] = {}
        sink: Sink | None = None
        async for event in self._read_events(max_size):
            if isinstance(event, Part):
                if event.name in sinks:
                    raise field_error(event.name, "repeated_field", "May be given only once")
                sink = await open_sink(event)
                sinks[event.name] = sink
            elif sink is not None:
                await sink.write(event)
        return sinks

    async def _read_events(self, max_size: int) -> AsyncIterator[Part | Bytes]:
        """Return the head of each part, followed by the pieces of its content."""
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > max_size:
                raise PayloadTooLarge
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise MalformedRequest from None
            for event in self._events.take():
                yield event
        if not self._events.is_complete:
            raise MalformedRequest


class _ParserEvents:
    """Collects the calls of the parser, which hands out slices of what it is given."""

    def __init__(self) -> None:
        # Whether the closing boundary has arrived.
        self.is_complete = False
        self._events: list[Part | Bytes] = []
        # The headers of the part that is being parsed, and the header that is.
        self._headers: dict[str, str] = {}
        self._header_name = b""
        self._header_value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_end": self._end_form,
        }

    def take(self) -> list[Part | Bytes]:
        """Return the events since the last call."""
        events = self._events
        self._events = []
        return events

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = self._header_name.decode("ascii").lower()
        self._headers[name] = self._header_value.decode("latin-1")
        self._header_name = b""
        self._header_value = b""

    def _end_headers(self) -> None:
        self._events.append(_parse_head(self._headers))
        self._headers = {}

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        # A view does not copy the bytes.
        self._events.append(memoryview(data)[start:end])

    def _end_form(self) -> None:
        self.is_complete = True


def _parse_head(headers: Mapping[str, str]) -> Part:
    """Return the head of a part from its headers. Example:

        Content-Disposition: form-data; name="file"; filename="thesis.pdf"
        Content-Type: application/pdf

    Raises `MalformedRequest`.
    """
    disposition, options = parse_options_header(headers.get("content-disposition"))
    encoding = headers.get("content-transfer-encoding", "").strip().lower()
    if disposition != b"form-data" or b"name" not in options:
        raise MalformedRequest
    if encoding not in _IDENTITY_ENCODINGS:
        raise MalformedRequest
    filename = options.get(b"filename")
    try:
        return Part(
            name=options[b"name"].decode(),
            filename=None if filename is None else filename.decode(),
            content_type=headers.get("content-type", "application/octet-stream"),
        )
    except UnicodeDecodeError:
        raise MalformedRequest from None


def validate_fields(model: type[Model], values: dict[str, Any], field: str = "") -> Model:
    """Return the model of the values that a client sent.

    Raises `InvalidRequest`, with a pointer to each wrong value, or always to `field` if the values
    are not fields of the form themselves.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            Fault(
                pointer=pointer(field) if field else pointer(*item["loc"]),
                code=item["type"],
                detail=reason(item),
            )
            for item in error.errors()
        ]
        raise InvalidRequest(*faults) from None


def field_error(field: str, code: str, detail: str) -> InvalidRequest:
    """Return the error for one field of the form."""
    return InvalidRequest(Fault(pointer=pointer(field), code=code, detail=detail))
