"""Strict parsing of request bodies: known media types, a maximum size, strict JSON or a form."""

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
MAX_BODY_SIZE: Final = 1024 * 1024  # bytes
MAX_FORM_FIELDS: Final = 100


class ParsedRequest(Request):
    """A request whose body has been read and parsed.

    FastAPI parses bodies itself. It gets the parsed body from these methods instead, because it
    accepts JSON that is not strict, for example with repeated keys.
    """

    # The bytes of the body.
    content: bytes
    # The value of a JSON body, or the fields of a form as pairs of a name and a value.
    value: Any

    async def body(self) -> bytes:
        return self.content

    async def json(self) -> Any:
        return self.value

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        return FormData(self.value)


async def parse_body(request: Request, media_types: list[str]) -> ParsedRequest:
    """Read and parse the body of a request.

    `media_types` are those that the operation accepts: either only forms, or types of JSON.

    Raises `UnsupportedMediaType` if the body has another media type, a charset other than UTF-8 or
    a Content-Encoding, `PayloadTooLarge` if it is too large, `MalformedRequest` if it is not strict
    JSON or not a form, and `InvalidRequest` if a field of a form is repeated.
    """
    _check_content_type(request, media_types)
    parsed_request = ParsedRequest(request.scope)
    parsed_request.content = await _read_body(request)
    try:
        if media_types == [FORM_MEDIA_TYPE]:
            parsed_request.value = _parse_form(parsed_request.content)
        else:
            parsed_request.value = parse_json(parsed_request.content)
    except ValueError:
        raise MalformedRequest from None
    return parsed_request


def _check_content_type(request: Request, media_types: list[str]) -> None:
    """Raise `UnsupportedMediaType` unless the body has one of these types, in plain UTF-8.

    For example, `Content-Type: application/json; charset=utf-8` has the type `application/json`.
    """
    # The message parses the header. Repeated headers are joined, so that each of them counts.
    message = Message()
    message["content-type"] = ", ".join(request.headers.getlist("content-type"))
    charset = str(message.get_param("charset", "utf-8")).lower()
    content_encoding = ", ".join(request.headers.getlist("content-encoding")).lower()
    is_supported = (
        message.get_content_type() in media_types
        and charset == "utf-8"
        and content_encoding in {"", "identity"}
    )
    if not is_supported:
        raise UnsupportedMediaType


async def _read_body(request: Request) -> bytes:
    """Return the bytes of the body. Raises `PayloadTooLarge` beyond `MAX_BODY_SIZE`."""
    # FastAPI's own max_body_size responds in plain text if Content-Length announces too much.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_SIZE:
            raise PayloadTooLarge
    return bytes(body)


def _parse_form(content: bytes) -> list[tuple[str, str]]:
    """Return the fields of a URL-encoded form as pairs of a name and a value.

    For example, `username=ada%40example.com&scope=` gives `("username", "ada@example.com")` and
    `("scope", "")`.

    Raises `InvalidRequest` if a field is repeated, and `ValueError` if the form is not valid UTF-8
    or has too many fields.
    """
    fields = parse_qsl(
        content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
    )
    counts = Counter(name for name, _ in fields)
    field_errors = []
    for name, count in counts.items():
        if count > 1:
            pointer = json_pointer(name)
            detail = "Must not be repeated"
            field_errors.append(FieldError(pointer=pointer, code="repeated_field", detail=detail))
    if field_errors:
        raise InvalidRequest(*field_errors)
    return fields
