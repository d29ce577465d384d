"""Conditional requests (RFC 9110, section 13): ETag, If-None-Match and If-Match."""

import re
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.schemas import ReadModel

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = rf"^(?:[ \t]*\*[ \t]*|[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*)$"
MAX_HEADER_LENGTH: Final = 8192  # characters: proxies allow no longer header
ENTITY_TAGS_SCHEMA: Final = {"type": "string", "maxLength": MAX_HEADER_LENGTH, "pattern": _TAGS}


def set_etag(response: Response, resource: ReadModel) -> None:
    """Set the ETag of a response that represents one resource: its version, in quotes."""
    response.headers["ETag"] = f'"{resource.version}"'


def not_modified_response(request: Request, response: Response) -> Response | None:
    """Return the 304 response for a client that has the current representation already.

    Returns None if the response has to be sent: it has no ETag, or the request no If-None-Match
    that matches it. Raises `InvalidRequest` for a malformed If-None-Match.
    """
    if "if-none-match" not in request.headers:
        return None
    etag = response.headers.get("ETag")
    if etag is None:
        return None
    tags = _entity_tags(request, "If-None-Match")
    # None stands for `*`. The comparison is weak, as the RFC requires here.
    if tags is not None and etag not in (tag.removeprefix("W/") for tag in tags):
        return None
    headers = {"ETag": etag}
    if "Cache-Control" in response.headers:
        headers["Cache-Control"] = response.headers["Cache-Control"]
    return Response(status_code=304, headers=headers)


async def _expected_versions(request: Request) -> list[str] | None:
    """Return the versions that `If-Match` allows, or None if it allows any."""
    tags = _entity_tags(request, "If-Match")
    if tags is None:
        return None
    # A weak tag never matches, because the comparison is strong.
    return [tag[1:-1] for tag in tags if not tag.startswith("W/")]


# The versions of a resource that a conditional write accepts; None for an unconditional write.
IfMatch = Annotated[list[str] | None, Depends(_expected_versions)]


def _entity_tags(request: Request, name: str) -> list[str] | None:
    """Return the entity tags of a header; None for `*` and if the header is absent."""
    lines = request.headers.getlist(name)
    if not lines:
        return None
    header = ",".join(lines)
    if len(header) > MAX_HEADER_LENGTH or not re.fullmatch(_TAGS, header):
        raise InvalidRequest(
            FieldError(header=name, code="entity_tags", detail="Must be entity tags or *")
        )
    if header.strip(" \t") == "*":
        return None
    return re.findall(_TAG, header)
