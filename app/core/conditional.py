"""ETag, If-None-Match and If-Match (RFC 9110, section 13), and the answers that carry them."""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, Field

from app.core.errors import Fault, InvalidRequest
from app.core.pagination import Page
from app.core.schemas import ReadModel

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(rf"[ \t,]*(?:{_TAG}[ \t]*(?:,[ \t,]*|$))+")
CACHE: Final = "private, no-cache"
MAX_HEADER: Final = 8192  # characters: proxies allow no longer header
_MAX_VERSION: Final = 2**31 - 1


def _tags(lines: list[str], name: str) -> list[str] | None:
    """The entity tags of a header; `None` for `*`."""
    header = ",".join(lines)
    if header.strip(" \t") == "*":
        return None
    if not _TAGS.fullmatch(header):
        fault = Fault(header=name, code="entity_tags", detail="Must be entity tags or *")
        raise InvalidRequest(fault)
    return re.findall(_TAG, header)


async def _versions(
    if_match: Annotated[
        list[Annotated[str, Field(max_length=MAX_HEADER)]] | None,
        Header(alias="If-Match", description="Write only while this is the ETag; `*` for any"),
    ] = None,
) -> list[int] | None:
    """The versions that `If-Match` allows; `None` where it allows any."""
    tags = None if if_match is None else _tags(if_match, "If-Match")
    if tags is None:
        return None
    # Weak tags never match strongly, and a tag that we did not make matches nothing.
    numbers = [int(tag[1:-1]) for tag in tags if re.fullmatch(r'"[1-9][0-9]{0,9}"', tag)]
    return [number for number in numbers if number <= _MAX_VERSION]


IfMatch = Annotated[list[int] | None, Depends(_versions)]


def one(request: Request, item: ReadModel, *, cache: str = CACHE, created: str = "") -> Response:
    """A resource with its ETag, or 304 when a reader holds it already; 201 when `created` there."""
    headers = {"ETag": f'"{item.version}"', "Cache-Control": cache}
    if created:
        return answer(item, 201, {**headers, "Location": created})
    held = request.headers.getlist("if-none-match")
    if held and request.method == "GET":
        tags = _tags(held, "If-None-Match")
        if tags is None or headers["ETag"] in (tag.removeprefix("W/") for tag in tags):
            return Response(status_code=304, headers=headers)
    return answer(item, 200, headers)


def many(request: Request, page: Page[Any], *, cache: str = CACHE, **headers: str) -> Response:
    """A page with its Link header."""
    # Not of `request.url`, which is put together and parsed again.
    links = page.links(request.scope["path"], request.scope["query_string"].decode("latin-1"))
    found = {"Link": links} if len(links) <= MAX_HEADER else {}  # the body has `next`
    return answer(page, 200, {**found, "Cache-Control": cache, **headers})


def answer(model: BaseModel, status: int, headers: dict[str, str]) -> Response:
    """A model as it is, without an ETag."""
    return Response(model.model_dump_json(), status, headers, "application/json")
