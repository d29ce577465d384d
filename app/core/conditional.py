"""ETag, If-None-Match and If-Match (RFC 9110, section 13), and the answers that carry them."""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from app.core.errors import Invalid, InvalidRequest
from app.core.pagination import link_header
from app.core.schemas import Page, ReadModel

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(rf"[ \t,]*(?:{_TAG}[ \t]*(?:,[ \t,]*|$))+")
MAX_HEADER: Final = 8192  # characters; the document says so, the server allows more
_MAX_VERSION: Final = 2**31 - 1


def _tags(header: str, name: str) -> list[str] | None:
    """The entity tags of a header; `None` for `*`."""
    if header.strip(" \t") == "*":
        return None
    if not _TAGS.fullmatch(header):
        fault = Invalid(header=name, code="entity_tags", detail="Must be entity tags or *")
        raise InvalidRequest(errors=[fault])
    return re.findall(_TAG, header)


async def _versions(
    if_match: Annotated[
        list[str] | None,
        Header(description="Write only while the ETag is one of these; `*` for any"),
    ] = None,
) -> list[int] | None:
    """The versions that `If-Match` allows; `None` where it allows any."""
    tags = None if if_match is None else _tags(",".join(if_match), "If-Match")
    if tags is None:
        return None
    # Weak tags never match strongly, and a tag that we did not make matches nothing.
    numbers = [int(tag[1:-1]) for tag in tags if re.fullmatch(r'"[1-9][0-9]{0,9}"', tag)]
    return [number for number in numbers if number <= _MAX_VERSION]


IfMatch = Annotated[list[int] | None, Depends(_versions)]


def one(
    request: Request,
    item: ReadModel,
    *,
    cache: str,
    status: int = 200,
    location: str | None = None,
) -> Response:
    """A resource with its ETag, or 304 when a reader holds it already. `cache` is Cache-Control."""
    etag = f'"{item.version}"'
    headers = {"ETag": etag, "Cache-Control": cache}
    if location is not None:
        headers["Location"] = location
    if request.method == "GET" and _held(request, etag):
        return Response(status_code=304, headers=headers)
    return _json(item, status, headers)


def many(request: Request, page: Page[Any], *, cache: str) -> Response:
    """A page with its Link header."""
    link = link_header(request.url.path, request.url.query, page)
    return _json(page, 200, {"Link": link, "Cache-Control": cache})


def _held(request: Request, etag: str) -> bool:
    header = ",".join(request.headers.getlist("if-none-match"))
    if not header:
        return False
    tags = _tags(header, "If-None-Match")
    return tags is None or etag in (tag.removeprefix("W/") for tag in tags)


def _json(model: BaseModel, status: int, headers: dict[str, str]) -> Response:
    body = model.model_dump_json()
    return Response(body, status_code=status, headers=headers, media_type="application/json")
