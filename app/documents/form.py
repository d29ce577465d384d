"""A multipart form read as it arrives (RFC 7578): the head of each part, then its bytes."""

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

OVERHEAD: Final = 64 * 1024  # bytes of a form beside its file
MAX_TEXT: Final = 1024  # bytes of a text field
_PLAIN: Final = {"", "7bit", "8bit", "binary"}  # values of Content-Transfer-Encoding
Bytes = bytes | memoryview
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Part:
    """The head of a part. `filename` is `None` in a text field."""

    name: str
    filename: str | None
    content_type: str


class Sink(Protocol):
    """What takes the bytes of a part."""

    async def write(self, data: Bytes) -> None: ...


class Text:
    """The value of a text field."""

    def __init__(self, name: str) -> None:
        self.name, self._value = name, bytearray()

    async def write(self, data: Bytes) -> None:
        self._value += data
        if len(self._value) > MAX_TEXT:
            raise wrong(self.name, "too_long", f"At most {MAX_TEXT} bytes")

    def value(self) -> str:
        try:
            return self._value.decode()
        except UnicodeDecodeError:
            raise wrong(self.name, "utf8", "Must be UTF-8") from None


class Form:
    """A request's form, to be read once. `stream` gives the body's bytes as they arrive."""

    def __init__(self, headers: Mapping[str, str], stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        length = headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() else 0
        kind, options = parse_options_header(headers.get("content-type"))
        encoding = headers.get("content-encoding", "").lower() or "identity"
        if (kind, encoding) != (b"multipart/form-data", "identity"):
            raise UnsupportedMediaType
        if not (boundary := options.get(b"boundary")):
            raise MalformedRequest
        self._heads = _Heads()
        try:
            self._parser = MultipartParser(boundary, self._heads.callbacks())
        except FormParserError:
            raise MalformedRequest from None

    async def read(
        self, limit: int, open_sink: Callable[[Part], Awaitable[Sink]]
    ) -> dict[str, Sink]:
        """Write each part to the sink that is opened for it; the sinks by name.

        `limit` is that of the file, in bytes. No field may be given twice.
        """
        if self.length > limit + OVERHEAD:
            raise PayloadTooLarge
        sinks: dict[str, Sink] = {}
        sink: Sink | None = None
        async for event in self._events(limit + OVERHEAD):
            if isinstance(event, Part):
                if event.name in sinks:
                    raise wrong(event.name, "repeated_field", "May be given only once")
                sinks[event.name] = sink = await open_sink(event)
            elif sink is not None:
                await sink.write(event)
        return sinks

    async def _events(self, limit: int) -> AsyncIterator[Part | Bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > limit:
                raise PayloadTooLarge
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise MalformedRequest from None
            for event in self._heads.taken():
                yield event
        if not self._heads.ended:
            raise MalformedRequest


class _Heads:
    """Collects what the push parser calls back; the bytes stay where they are."""

    def __init__(self) -> None:
        self.ended = False
        self._events: list[Part | Bytes] = []
        self._headers: dict[str, str] = {}
        self._name, self._value = b"", b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_end": self._end,
        }

    def taken(self) -> list[Part | Bytes]:
        events, self._events = self._events, []
        return events

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("ascii").lower()] = self._value.decode("latin-1")
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        headers, self._headers = self._headers, {}
        disposition, options = parse_options_header(headers.get("content-disposition"))
        encoding = headers.get("content-transfer-encoding", "").strip().lower()
        if disposition != b"form-data" or b"name" not in options or encoding not in _PLAIN:
            raise MalformedRequest
        name, filename = options[b"name"], options.get(b"filename")
        try:
            part = Part(
                name.decode(),
                None if filename is None else filename.decode(),
                headers.get("content-type", "application/octet-stream"),
            )
        except UnicodeDecodeError:
            raise MalformedRequest from None
        self._events.append(part)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(memoryview(data)[start:end])

    def _end(self) -> None:
        self.ended = True


def valid(model: type[Model], values: dict[str, Any], place: str = "") -> Model:
    """The model of what a client sent; 422 names `place`, or else the field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [
            Fault(pointer=place or pointer(*item["loc"]), code=item["type"], detail=reason(item))
            for item in error.errors()
        ]
        raise InvalidRequest(*faults) from None


def wrong(field: str, code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(Fault(pointer=pointer(field), code=code, detail=detail))
