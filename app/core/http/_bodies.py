"""Strict parsing of request bodies: known media types, a maximum size, strict JSON or a form."""

from collections import Counter
from contextlib import AbstractContextManager
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.datastructures import FormData

from app.core.errors import (
    InvalidRequest,
    MalformedRequest,
    PayloadTooLarge,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
)
from app.core.field_errors import NOT_AN_OBJECT_CODE, OBJECT_MESSAGE, FieldError, json_pointer
from app.core.formats import JsonTooLarge, parse_json
from app.core.header_parameters import InvalidParameters, parse_header_parameters
from app.core.http._callers import identify_caller
from app.core.http._resources import http_resources
from app.core.sizes import format_size

JSON_MEDIA_TYPE: Final = "application/json"
MERGE_PATCH_MEDIA_TYPE: Final = "application/merge-patch+json"
FORM_MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
# The maximum sizes of bodies in bytes: of JSON and of forms, and of JSON that contains a batch. A
# batch of 1,000 titles of 300 characters has 3.7 MB if each character is written as two escape
# sequences, for example `\ud83d\ude00`.
MAX_BODY_SIZE: Final = 64 * 1024
MAX_BATCH_BODY_SIZE: Final = 8 * 1024 * 1024
MAX_FORM_FIELDS: Final = 100
# A parser needs milliseconds for the thousands of parameters that a header may have.
MAX_CONTENT_TYPE_LENGTH: Final = 1000  # characters


class ParsedRequest(Request):
    """A request whose body has already been read and parsed.

    FastAPI calls these methods to get the parsed body. The methods of its own `Request` would
    accept JSON that is not strict, for example an object with a repeated key.
    """

    body_bytes: bytes
    # The value of a JSON body, or the fields of a form: `[("username", "ada"), ("scope", "")]`.
    parsed_body: Any

    async def body(self) -> bytes:
        return self.body_bytes

    async def json(self) -> Any:
        return self.parsed_body

    # The type differs from that of the base class, whose result can also be used in `async with`.
    async def form(self, **_options: Any) -> FormData:  # type: ignore[override]
        return FormData(self.parsed_body)


def check_content_length(request: Request, max_size: int, limit_detail: str | None = None) -> None:
    """Raise `PayloadTooLarge` if a client announces a body of more than `max_size` bytes.

    Call this before the body is read. A client that sends `Expect: 100-continue` then gets the
    error instead of the request to send the body.

    `limit_detail` explains the limit to the client. The default states `max_size`.
    """
    # Read the raw headers, because `request.headers` takes longer.
    for name, value in request.scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > max_size:
            raise PayloadTooLarge(limit_detail or _describe_limit(max_size))


def reserve_large_body(request: Request, max_size: int) -> AbstractContextManager[None]:
    """Limit the memory for large bodies. A request with such a body is handled inside the block.

    Call this after `check_content_length`. A chunked body counts as `max_size` bytes, because its
    size is not known in advance.

    The block raises `TooManyRequests` if the caller sends too many bytes at the same time, and
    `Overloaded` if all callers together do.
    """
    content_length = request.headers.get("content-length", "")
    size = int(content_length) if content_length.isdecimal() else max_size
    limits = http_resources(request).large_body_limits
    return limits.reserve(identify_caller(request), size)


def read_content_headers(request: Request) -> dict[str, str]:
    """Return the headers Content-Type and Content-Encoding of a request, or "" if one is missing.

    If the request repeats a header, the values are joined, for example to the invalid Content-Type
    `text/html, application/json`. Such a request is refused, because a proxy in front of the
    service may have checked only one of the values.

    Raises `UnsupportedMediaType` if the Content-Type is too long to be parsed.
    """
    headers = {
        name: ", ".join(request.headers.getlist(name))
        for name in ("content-type", "content-encoding")
    }
    if len(headers["content-type"]) > MAX_CONTENT_TYPE_LENGTH:
        raise UnsupportedMediaType
    return headers


async def parse_body(
    request: Request, media_types: list[str], max_size: int, *, is_required: bool = True
) -> ParsedRequest:
    """Read and parse the body of a request, and return a request that contains the result.

    Args:
        request: The request, whose body has not been read.
        media_types: The media types that the operation accepts, for example
            `["application/json"]`. An operation accepts either forms or JSON.
        max_size: The maximum size of the body in bytes.
        is_required: False if the operation accepts a request without a body. The parsed body is
            then None.

    Raises `UnsupportedMediaType` if the body has another media type or a charset other than UTF-8,
    `UnsupportedContentEncoding` if it is compressed, `PayloadTooLarge` if it is too large,
    `MalformedRequest` if it cannot be parsed, and `InvalidRequest` if a form repeats a field.
    """
    parsed_request = ParsedRequest(request.scope)
    if not is_required and not _announces_body(request):
        parsed_request.body_bytes = b""
        parsed_request.parsed_body = None
        return parsed_request
    _require_supported_content_type(request, media_types)
    parsed_request.body_bytes = await _read_body(request, max_size)

    try:
        if media_types == [FORM_MEDIA_TYPE]:
            parsed_request.parsed_body = _parse_form(parsed_request.body_bytes)
        else:
            parsed_request.parsed_body = parse_json(parsed_request.body_bytes)
    except JsonTooLarge as error:
        # The message names the limit. Messages of other errors may quote confidential values.
        raise MalformedRequest(f"The JSON {error}") from None
    except ValueError:
        raise MalformedRequest from None
    if parsed_request.parsed_body is None and not is_required:
        # FastAPI would take null for a missing body. With a required body, it rejects null itself.
        raise InvalidRequest(FieldError(pointer="", code=NOT_AN_OBJECT_CODE, detail=OBJECT_MESSAGE))
    return parsed_request


def _announces_body(request: Request) -> bool:
    """Return whether the headers of a request say that a body follows (RFC 9112, section 6.3)."""
    headers = request.headers
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _require_supported_content_type(request: Request, media_types: list[str]) -> None:
    """Raise `UnsupportedMediaType` if the server cannot read the body of a request.

    The Content-Type has to be one of `media_types`. The charset, if it has one, has to be UTF-8,
    for example `application/json; charset=utf-8`. Raises `UnsupportedContentEncoding` if the body
    is compressed.
    """
    headers = read_content_headers(request)
    content_encoding = headers["content-encoding"].lower()
    if content_encoding not in {"", "identity"}:
        raise UnsupportedContentEncoding
    try:
        media_type, parameters = parse_header_parameters(headers["content-type"])
    except InvalidParameters:
        raise UnsupportedMediaType from None
    charset = parameters.get("charset", "utf-8").lower()
    if media_type not in media_types or charset != "utf-8":
        raise UnsupportedMediaType


async def _read_body(request: Request, max_size: int) -> bytes:
    """Read the body of a request.

    Raises `PayloadTooLarge` as soon as more than `max_size` bytes have arrived.
    """
    # Do not use FastAPI's option max_body_size, because its error response is plain text.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_size:
            raise PayloadTooLarge(_describe_limit(max_size))
    return bytes(body)


def _describe_limit(max_size: int) -> str:
    """Return the text for a client whose body has more than `max_size` bytes."""
    return f"The request body must not exceed {format_size(max_size)}"


def _parse_form(form_body: bytes) -> list[tuple[str, str]]:
    """Parse a URL-encoded form, and return the name and the value of each field.

    For example, `username=ada%40example.com&scope=` gives
    `[("username", "ada@example.com"), ("scope", "")]`.

    Raises `InvalidRequest` if a field is repeated, and `ValueError` if the form is not valid UTF-8
    or has more than `MAX_FORM_FIELDS` fields.
    """
    form_fields = parse_qsl(
        form_body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
    )

    occurrences_by_name = Counter(name for name, _ in form_fields)
    field_errors = [
        FieldError(pointer=json_pointer(name), code="repeated_field", detail="Must not be repeated")
        for name, occurrences in occurrences_by_name.items()
        if occurrences > 1
    ]
    if field_errors:
        raise InvalidRequest(*field_errors)
    return form_fields
