"""Conditional requests (RFC 9110, section 13): ETag, If-None-Match and If-Match."""

import re
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
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
}


def set_etag(response: Response, resource: ReadModel) -> None:
    """Set the ETag of a response to the version of its resource, for example `"4.2"`."""
    response.headers["ETag"] = f'"{resource.version}"'


def not_modified_response(request: Request, response: Response) -> Response | None:
    """Return a 304 response if the client already has the content of `response`, or None if not.

    The client has it if its If-None-Match header lists the ETag of the response, or is `*`.
    Raises `InvalidRequest` if the header is malformed.
    """
    etag = response.headers.get("ETag")
    if etag is None or "if-none-match" not in request.headers:
        return None

    client_tags = _parse_entity_tags(request, "If-None-Match")
    # Here, None stands for the header `*`, which matches every ETag.
    if client_tags is not None:
        # The RFC requires a weak comparison, in which `W/"4.2"` equals `"4.2"`.
        comparable_tags = [tag.removeprefix("W/") for tag in client_tags]
        if etag not in comparable_tags:
            return None

    headers = {"ETag": etag}
    if "Cache-Control" in response.headers:
        headers["Cache-Control"] = response.headers["Cache-Control"]
    return Response(status_code=304, headers=headers)


async def _parse_if_match(request: Request) -> list[str] | None:
    """Return the versions of a resource that a client allows a write to replace.

    For example, `If-Match: "4.2", "4.3"` gives `["4.2", "4.3"]`. Returns None if the write may
    replace every version, because the header is `*` or absent.
    """
    client_tags = _parse_entity_tags(request, "If-Match")
    if client_tags is None:
        return None
    # The RFC requires a strong comparison, in which a weak tag such as `W/"4.2"` never matches.
    strong_tags = [tag for tag in client_tags if not tag.startswith("W/")]
    return [tag.strip('"') for tag in strong_tags]


# A dependency of endpoints that write: the versions of the resource that they may replace, or None
# if they may replace every version.
IfMatch = Annotated[list[str] | None, Depends(_parse_if_match)]


def _parse_entity_tags(request: Request, header_name: str) -> list[str] | None:
    """Return the entity tags in a header, or None if the header is `*` or absent.

    For example, the header `"4.2", W/"4.3"` gives `['"4.2"', 'W/"4.3"']`.
    Raises `InvalidRequest` if the header is malformed or too long.
    """
    header_lines = request.headers.getlist(header_name)
    if not header_lines:
        return None

    header = ",".join(header_lines)
    if len(header) > MAX_HEADER_LENGTH or not re.fullmatch(_TAGS_PATTERN, header):
        detail = 'Must be a list of entity tags in double quotes, such as "4.2", or *'
        raise InvalidRequest(FieldError(header=header_name, code="entity_tags", detail=detail))

    if header.strip(" \t") == "*":
        return None
    return re.findall(_TAG_PATTERN, header)
