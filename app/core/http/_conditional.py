"""Conditional requests (RFC 9110, section 13): ETag, If-None-Match and If-Match."""

import re
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.http._headers import get_header_lines
from app.core.preconditions import ANY_VERSION, Precondition
from app.core.schemas import ReadModel

# An entity tag, for example `"4.2"`, or `W/"4.2"` if it is weak.
_TAG_PATTERN: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# A header with one or more entity tags, for example `"4.2", "4.3"`, or with `*` for any tag.
_TAGS_PATTERN: Final = (
    rf"^(?:[ \t]*\*[ \t]*|[ \t,]*{_TAG_PATTERN}(?:[ \t]*,[ \t,]*{_TAG_PATTERN})*[ \t,]*)$"
)
# In characters. Common proxies reject longer headers.
MAX_HEADER_LENGTH: Final = 8192
ENTITY_TAGS_SCHEMA: Final = {
    "type": "string",
    "maxLength": MAX_HEADER_LENGTH,
    "pattern": _TAGS_PATTERN,
    "examples": ['"4.2"'],
}
# The headers that a 304 response has in common with the response that it replaces. A cache updates
# its stored headers with them.
_NOT_MODIFIED_HEADERS: Final = ("ETag", "Cache-Control", "Content-Security-Policy", "Vary")
# The parsed header `*`, which matches every entity tag.
_ANY_TAG: Final = ["*"]
_WEAK_PREFIX: Final = "W/"
_NONE_MATCH_DETAIL: Final = (
    "The request changes nothing, because If-None-Match is * or contains the current ETag"
)
_WEAK_TAG_DETAIL: Final = (
    'If-Match contains a weak ETag, such as W/"4.2", which never matches. A proxy that compresses'
    " responses makes ETags weak. Send the version of the resource, which is also in its"
    ' representation, in double quotes: If-Match: "4.2".'
)
_BOTH_HEADERS_DETAIL: Final = (
    "The request changes nothing, because If-Match does not contain the current ETag, or"
    " If-None-Match contains it"
)


def set_etag(response: Response, resource: ReadModel) -> None:
    """Set the ETag of a response to the version of its resource, for example `"4.2"`."""
    response.headers["ETag"] = f'"{resource.version}"'


def not_modified_response(request: Request, response: Response) -> Response | None:
    """Return a 304 response if the client already has the content of `response`, or None if not.

    The client has it if its If-None-Match header lists the ETag of the response, or is `*`.
    Raises `InvalidRequest` if the header is malformed.
    """
    etag = response.headers.get("ETag")
    if etag is None:
        return None
    client_tags = _parse_entity_tags(request, "If-None-Match")
    if client_tags is None:
        return None

    # The RFC requires a weak comparison, in which `W/"4.2"` equals `"4.2"`.
    comparable_tags = [tag.removeprefix(_WEAK_PREFIX) for tag in client_tags]
    if client_tags != _ANY_TAG and etag not in comparable_tags:
        return None

    headers = {
        name: response.headers[name] for name in _NOT_MODIFIED_HEADERS if name in response.headers
    }
    return Response(status_code=304, headers=headers)


async def _parse_precondition(request: Request) -> Precondition:
    """Return which versions of a resource a client allows a write to replace.

    For example, `If-Match: "4.2", "4.3"` allows only these two versions, and `If-None-Match: "4.2"`
    all others. If the request has both headers, both have to allow the version. Raises
    `InvalidRequest` if a header is malformed.
    """
    match_tags = _parse_entity_tags(request, "If-Match")
    none_match_tags = _parse_entity_tags(request, "If-None-Match")
    if none_match_tags == _ANY_TAG:
        return Precondition("is one of", [], _NONE_MATCH_DETAIL)
    # The RFC requires a weak comparison for If-None-Match, in which `W/"4.2"` equals `"4.2"`.
    refused_versions = {_get_version(tag) for tag in none_match_tags or []}
    if match_tags is None or match_tags == _ANY_TAG:
        if not refused_versions:
            return ANY_VERSION
        return Precondition("is none of", list(refused_versions), _NONE_MATCH_DETAIL)

    # The RFC requires a strong comparison for If-Match, in which a weak tag never matches.
    strong_tags = [tag for tag in match_tags if not tag.startswith(_WEAK_PREFIX)]
    allowed_versions = {_get_version(tag) for tag in strong_tags} - refused_versions
    detail = None
    if len(strong_tags) < len(match_tags):
        detail = _WEAK_TAG_DETAIL
    elif refused_versions:
        detail = _BOTH_HEADERS_DETAIL
    return Precondition("is one of", list(allowed_versions), detail)


# A dependency of endpoints that write: the versions of the resource that the client allows them to
# replace.
WritePrecondition = Annotated[Precondition, Depends(_parse_precondition)]


def _get_version(tag: str) -> str:
    """Return the version in an entity tag, which is `4.2` for both `"4.2"` and `W/"4.2"`."""
    return tag.removeprefix(_WEAK_PREFIX).strip('"')


def _parse_entity_tags(request: Request, header_name: str) -> list[str] | None:
    """Return the entity tags in a header, or None if the header is absent.

    For example, the header `"4.2", W/"4.3"` gives `['"4.2"', 'W/"4.3"']`, and `*` gives `["*"]`.
    Raises `InvalidRequest` if the header is malformed or too long.
    """
    header_lines = get_header_lines(request, header_name.lower().encode())
    if not header_lines:
        return None

    header = ",".join(header_lines)
    if len(header) > MAX_HEADER_LENGTH or not re.fullmatch(_TAGS_PATTERN, header):
        detail = 'Must be a list of entity tags in double quotes, such as "4.2", or *'
        raise InvalidRequest(FieldError(header=header_name, code="entity_tags", detail=detail))

    if header.strip(" \t") == "*":
        return _ANY_TAG
    return re.findall(_TAG_PATTERN, header)
