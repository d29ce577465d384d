"""Request bodies in the strict sense: a known media type, a bounded size, valid JSON or a form."""

from collections import Counter
from email.message import Message
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import FormData

from app.core.errors import InvalidRequest, MalformedRequest, PayloadTooLarge, UnsupportedMediaType
from app.core.field_errors import FieldError, json_pointer
from app.core.formats import parse_json

JSON_MEDIA_TYPE: Final = "application/json"
MERGE_PATCH_MEDIA_TYPE: Final = "application/merge-patch+json"
FORM_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
MAX_BODY_SIZE: Final = 1024 * 1024  # bytes, as received
MAX_FORM_FIELDS: Final = 100


class ParsedRequest(Request):
    """A request whose body has been read and parsed.

    The framework's own functions get the parsed value instead of parsing the body again.
    """

    content: bytes
    value: Any

    async def body(self) -> bytes:
        return self.content

    async def json(self) -> Any:
        return self.value

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        return FormData(self.value)


async def parse_body(request: Request, media_types: list[str]) -> ParsedRequest:
    """Read and parse the body of a request.

    Raises `UnsupportedMediaType` for another media type, a charset other than UTF-8 or a
    Content-Encoding, `PayloadTooLarge`, and `MalformedRequest` for a body that is not JSON in the
    strict sense, or not a form.
    """
    _check_content_type(request, media_types)
    parsed = ParsedRequest(request.scope)
    parsed.content = await _read(request)
    try:
        if media_types == [FORM_MEDIA_TYPE]:
            parsed.value = _parse_form(parsed.content)
        else:
            parsed.value = parse_json(parsed.content)
    except ValueError:
        raise MalformedRequest from None
    return parsed


def _check_content_type(request: Request, media_types: list[str]) -> None:
    message = Message()
    # Repeated headers are joined, so that no line of them is ignored.
    message["content-type"] = ", ".join(request.headers.getlist("content-type"))
    charset = str(message.get_param("charset", "utf-8")).lower()
    encoding = ", ".join(request.headers.getlist("content-encoding")).lower() or "identity"
    if (
        message.get_content_type() not in media_types
        or charset != "utf-8"
        or encoding != "identity"
    ):
        raise UnsupportedMediaType


async def _read(request: Request) -> bytes:
    # FastAPI's own max_body_size responds in plain text if Content-Length announces too much.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_SIZE:
            raise PayloadTooLarge
    return bytes(body)


def _parse_form(content: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form. Raises `InvalidRequest` if a field is repeated."""
    fields = parse_qsl(
        content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
    )
    counts = Counter(name for name, _ in fields)
    faults = [
        FieldError(pointer=json_pointer(name), code="repeated_field", detail="Must not be repeated")
        for name, count in counts.items()
        if count > 1
    ]
    if faults:
        raise InvalidRequest(*faults)
    return fields
