"""Lists on the wire: the query that asks for a page, the cursor, the `Link` header."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from math import ceil
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from pydantic import BeforeValidator, Field

from app.core.errors import Invalid, InvalidRequest
from app.core.schemas import Id, Instant, Page, RequestModel, integer, text

MAX_OFFSET: Final = 100_000  # rows; beyond it only a cursor goes on, at the same cost at any depth
_DIGEST_SIZE: Final = 12  # bytes

PAGING: Final = {"page", "size", "cursor", "count", "sort"}
Count = Literal["exact", "none", "estimated"]


def _split(value: Any) -> Any:
    """`a,-b` and repeated parameters alike become a list of keys."""
    keys = [key for item in value for key in item.split(",")]
    if len({key.removeprefix("-") for key in keys}) < len(keys):
        raise ValueError("names a key twice")
    return keys


Sorted = BeforeValidator(_split)


class ListQuery(RequestModel):
    """The parameters of every list. Subclasses narrow `sort` and add their own filters.

    Each field whose name is not in `PAGING` is a filter of the repository by the same name.
    """

    sort: Annotated[tuple[str, ...], Sorted] = ()

    page: Annotated[int, integer(1, MAX_OFFSET)] | None = Field(
        default=None, description="Page number; page times size is at most 100,000"
    )
    size: Annotated[int, integer(1, 100)] = Field(default=20, description="Rows per page")
    cursor: Annotated[str, text(1, 2000)] | None = Field(
        default=None, description="`next` of the page before; repeat its sort and filters"
    )
    count: Count | None = Field(
        default=None, description="How `total` is found; exact with page, none with cursor"
    )
    q: Annotated[str, text(1, 100)] | None = Field(
        default=None, description="Words that must each begin a word, whatever case and accents"
    )
    id: tuple[Id, ...] = Field(default=(), max_length=100, description="Any of these ids")
    created_from: Instant | None = Field(default=None, description="Created then or later")
    created_to: Instant | None = Field(default=None, description="Created before then")
    updated_from: Instant | None = Field(default=None, description="Updated then or later")
    updated_to: Instant | None = Field(default=None, description="Updated before then")

    def filters(self) -> dict[str, Any]:
        """The filters that the client set, by name."""
        return self.model_dump(exclude=PAGING, exclude_unset=True)

    def check(self) -> None:
        """Raise what no single field can state."""
        if self.page is not None and self.cursor is not None:
            raise _invalid("cursor", "exclusive", "page and cursor exclude each other")
        if self.page is not None and self.page * self.size > MAX_OFFSET:
            message = f"page times size is at most {MAX_OFFSET}; go on with cursor"
            raise _invalid("page", "page_too_deep", message)

    @property
    def counting(self) -> Count:
        return self.count or ("none" if self.cursor else "exact")


def _invalid(parameter: str, code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(errors=[Invalid(parameter=parameter, code=code, detail=detail)])


_PARSERS: Final[dict[type, Callable[[str], Any]]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    UUID: UUID,
    int: int,
    str: str,
}


def encode_cursor(values: Sequence[Any], context: str) -> str:
    """The position after the row with these key values, bound to `context` (sort and filters)."""
    payload = json.dumps([str(value) for value in values], separators=(",", ":")).encode()
    return _encode(_digest(payload, context) + payload)


def decode_cursor(cursor: str, types: Sequence[type], context: str) -> list[Any]:
    """The key values, converted to `types`; 422 when it was changed or belongs elsewhere."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        digest, payload = raw[:_DIGEST_SIZE], raw[_DIGEST_SIZE:]
        intact = digest == _digest(payload, context) and _encode(raw) == cursor
        values = json.loads(payload) if intact else []
        return [_PARSERS[kind](value) for kind, value in zip(types, values, strict=True)]
    except ValueError:
        message = "is not a cursor of this list with this sort and these filters"
        raise _invalid("cursor", "cursor_mismatch", message) from None


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(payload: bytes, context: str) -> bytes:
    # It tells mistakes from cursors; it is no secret, for a cursor gives no access to anything.
    return hashlib.blake2b(payload + context.encode(), digest_size=_DIGEST_SIZE).digest()


def page_of(
    items: list[Any], query: ListQuery, *, total: int | None, following: str | None
) -> Page[Any]:
    """The answer; `total` and `pages` are null where nobody counted."""
    return Page(
        items=items,
        total=total,
        page=None if query.cursor else query.page or 1,
        size=query.size,
        pages=None if total is None or query.cursor else ceil(total / query.size),
        next=following,
    )


def link_header(path: str, query_string: str, page: Page[Any]) -> str:
    """`first`, `prev`, `next` and `last` where known (RFC 8288), relative to the origin."""
    kept = [
        pair
        for pair in parse_qsl(query_string, keep_blank_values=True)
        if pair[0] not in {"page", "cursor"}
    ]

    def link(relation: str, **position: Any) -> str:
        return f'<{path}?{urlencode([*kept, *position.items()])}>; rel="{relation}"'

    return ", ".join(link(name, **position) for name, position in _positions(page).items())


def _positions(page: Page[Any]) -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"first": {"page": 1}}
    reachable = MAX_OFFSET // page.size
    if page.page is not None and page.page > 1:
        found["prev"] = {"page": min(page.page - 1, max(page.pages or reachable, 1))}
    if page.next is not None:
        found["next"] = {"cursor": page.next}
        if page.page is not None and page.page < reachable:
            found["next"] = {"page": page.page + 1}
    if page.pages is not None and page.pages <= reachable:
        found["last"] = {"page": max(page.pages, 1)}
    return found
