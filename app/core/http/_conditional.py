"""ETag, If-None-Match and If-Match (RFC 9110, section 13), and the answers that carry them."""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from app.core.errors import Fault, InvalidRequest
from app.core.paging import Page
from app.core.schemas import ReadModel

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = rf"^(?:[ \t]*\*[ \t]*|[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*)$"
CACHE: Final = "private, no-cache"
MAX_HEADER: Final = 8192  # characters: proxies allow no longer header
SCHEMA: Final = {"type": "string", "maxLength": MAX_HEADER, "pattern": _TAGS}
_MAX_VERSION: Final = 2**31 - 1


def _tags(request: Request, name: str) -> list[str] | None:
    """The entity tags of a header; `None` for `*` and without it."""
    if not (lines := request.headers.getlist(name)):
        return None
    header = ",".join(lines)
    if len(header) > MAX_HEADER or not re.fullmatch(_TAGS, header):
        fault = Fault(header=name, code="entity_tags", detail="Must be entity tags or *")
        raise InvalidRequest(fault)
    return None if header.strip(" \t") == "*" else re.findall(_TAG, header)


async def _versions(request: Request) -> list[int] | None:
    """The versions that `If-Match` allows; `None` where it allows any."""
    if (tags := _tags(request, "If-Match")) is None:
        return None
    # Weak tags never match strongly, and a tag that we did not make matches nothing.
    numbers = [int(tag[1:-1]) for tag in tags if re.fullmatch(r'"[1-9][0-9]{0,9}"', tag)]
    return [number for number in numbers if number <= _MAX_VERSION]


IfMatch = Annotated[list[int] | None, Depends(_versions)]


def resource_response(
    request: Request, item: ReadModel, *, cache: str = CACHE, location: str = ""
) -> Response:
    """Return one resource with its ETag.

    The response is 201 with this `location` for a resource that was created, 304 for a client
    that has the current version already, and 200 otherwise.
    """
    headers = {"ETag": f'"{item.version}"', "Cache-Control": cache}
    if location:
        return json_response(item, 201, {**headers, "Location": location})
    if request.method == "GET" and "if-none-match" in request.headers:
        tags = _tags(request, "If-None-Match")
        if tags is None or headers["ETag"] in (tag.removeprefix("W/") for tag in tags):
            return Response(status_code=304, headers=headers)
    return json_response(item, 200, headers)


def page_response(
    request: Request, page: Page[Any], *, cache: str = CACHE, **headers: str
) -> Response:
    """Return one page of a list with its `Link` header."""
    # Taken from the scope, because `request.url` is assembled and parsed again.
    links = page.links(request.scope["path"], request.scope["query_string"].decode("latin-1"))
    found = {"Link": links} if len(links) <= MAX_HEADER else {}  # the body has `next`
    return json_response(page, 200, {**found, "Cache-Control": cache, **headers})


def json_response(model: BaseModel, status: int, headers: dict[str, str]) -> Response:
    """Return a model as JSON, without an ETag."""
    return Response(model.model_dump_json(), status, headers, "application/json")
