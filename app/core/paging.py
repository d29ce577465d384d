"""Lists on the wire: the query that asks for a page, the cursor, the `Link` header."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Final, Generic, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.schemas import (
    MAX_INT64,
    Instant,
    RequestModel,
    integer_between,
    remove_default,
    string_of_length,
)

MAX_OFFSET: Final = 100_000  # rows; beyond it only a cursor goes on, at the same cost at any depth
_DIGEST: Final = 12  # bytes of a cursor
PAGE_PARAMETERS: Final = {"page", "size", "cursor", "count"}
# `dumps` would make an encoder for each page.
_to_json: Final = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":")).encode
T = TypeVar("T")
Item = TypeVar("Item", bound=BaseModel)
# Any number is read: beyond the bound `check` says to go on with a cursor.
_PAGE: Final = replace(integer_between(1, MAX_INT64), schema=integer_between(1, MAX_OFFSET).schema)


def _split_keys(value: Any) -> Any:
    """Turn `a,-b`, or repeated parameters, into a list of keys.

    Any other value is left to the field's own validation.
    """
    if not isinstance(value, list):
        return value
    keys = [key for item in value for key in item.split(",")]
    if len({key.removeprefix("-") for key in keys}) < len(keys):
        raise ValueError("Names a key twice")
    return keys


class CommaSeparated(BeforeValidator):
    """Marks a query parameter whose values may be separated by commas: `sort=title,-id`."""


def _of_keys(schema: dict[str, Any]) -> None:
    """Without any there would be an empty `sort=`."""
    schema.pop("default", None)
    schema.update(minItems=1, uniqueItems=True)


AnyOf = Annotated[tuple[T, ...], Field(max_length=100, description="Any of these")]
SortKeys = Annotated[
    tuple[T, ...],
    CommaSeparated(_split_keys),
    Field(
        description="Keys in order, `-` for descending; without: oldest first",
        json_schema_extra=_of_keys,
    ),
]


class PageQuery(RequestModel):
    """The parameters of every list: which page, and how it is counted."""

    page: Annotated[int, _PAGE] | None = Field(
        default=None, description="Page number; page times size is at most 100,000"
    )
    # No default in the document: who fills in defaults would ask for pages of lines, too.
    size: Annotated[int, integer_between(1, 100)] = Field(
        default=20, description="Rows per page; 20 without", json_schema_extra=remove_default
    )
    cursor: Annotated[str, string_of_length(1, 4000)] | None = Field(
        default=None, description="`next` of the page before; repeat its sort and filters"
    )
    count: Literal["exact", "none", "estimated"] | None = Field(
        default=None,
        description="How `total` is found; without: exact by page, none by cursor. What is only"
        " one's own is never estimated",
    )

    def require_valid_position(self) -> None:
        """Raise what no single field can state."""
        if self.page is not None and self.cursor is not None:
            raise _wrong("cursor", "exclusive", "page and cursor exclude each other")
        if (self.page or 1) * self.size > MAX_OFFSET:
            message = f"page times size is at most {MAX_OFFSET}; go on with cursor"
            raise _wrong("page", "page_too_deep", message)

    def requested_sort(self) -> tuple[str, ...]:
        """The keys that the client asks for; none means the list's own."""
        return ()

    def requested_filters(self) -> dict[str, Any]:
        """What the client set of the rest: each is a condition of the repository by its name."""
        return self.model_dump(exclude={*PAGE_PARAMETERS, "sort"}, exclude_unset=True)

    def count_mode(self) -> str:
        return self.count or ("none" if self.cursor else "exact")


class ListQuery(PageQuery):
    """The parameters of an entity's list. Subclasses narrow `sort` and add filters of their own."""

    sort: SortKeys[str] = ()
    q: Annotated[str, string_of_length(1, 100)] | None = Field(
        default=None, description="Words that must each begin a word, in any case and accents"
    )
    created_from: Instant | None = Field(default=None, description="Created then or later")
    created_to: Instant | None = Field(default=None, description="Created before then")
    updated_from: Instant | None = Field(
        default=None, description="`updated_at` is this time or later"
    )
    updated_to: Instant | None = Field(default=None, description="`updated_at` is before this time")

    def requested_sort(self) -> tuple[str, ...]:
        return self.sort


class Page(BaseModel, Generic[Item]):
    """One page of a collection."""

    # The OpenAPI document contains only subclasses, and they do not inherit the docstring.
    model_config = ConfigDict(json_schema_extra={"description": "One page of a collection."})

    items: list[Item]
    total: int | None = Field(
        description="Rows in the whole collection; null when not counted", examples=[1]
    )
    page: int | None = Field(
        description="This page's number; null when reached by cursor", examples=[1]
    )
    size: int = Field(description="The most rows that a page holds", examples=[20])
    pages: int | None = Field(description="Number of pages; null when not counted", examples=[1])
    next: str | None = Field(
        max_length=4000, description="Cursor of the next page, if any", examples=[None]
    )

    def link_header(self, path: str, query: str) -> str:
        """Return a `Link` header (RFC 8288): first, prev, next and last where they are known."""
        parameters = parse_qsl(query, keep_blank_values=True)
        other_query = urlencode([pair for pair in parameters if pair[0] not in {"page", "cursor"}])
        start = f"<{path}?{other_query}&" if other_query else f"<{path}?"
        positions = self._positions(known=("count", "estimated") not in parameters)
        return ", ".join(f'{start}{position}>; rel="{name}"' for name, position in positions)

    def _positions(self, *, known: bool) -> Iterator[tuple[str, str]]:
        last, deepest = self.pages if known else None, MAX_OFFSET // self.size
        yield "first", "page=1"
        if self.page is not None and self.page > 1:
            yield "prev", f"page={max(1, min(self.page - 1, deepest if last is None else last))}"
        if self.next is not None and self.page is not None and self.page < deepest:
            yield "next", f"page={self.page + 1}"
        elif self.next is not None:
            yield "next", f"cursor={self.next}"
        if last is not None and last <= deepest:
            yield "last", f"page={max(1, last)}"


def encode_cursor(values: list[Any], context: str) -> str:
    """The position after the row with these key values, bound to `context` (sort and filters)."""
    payload = _to_json(values).encode()
    return _encode(_digest(payload, context) + payload)


def decode_cursor(cursor: str, types: tuple[Any, ...], context: str) -> tuple[Any, ...]:
    """The key values; 422 when the cursor was changed or belongs to another list."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        digest, payload = raw[:_DIGEST], raw[_DIGEST:]
        if _encode(raw) == cursor and digest == _digest(payload, context):
            return _adapter(types).validate_json(payload)
    except ValueError:
        pass
    raise _wrong("cursor", "cursor_mismatch", "is no cursor of this list, sort and filters")


@lru_cache
def _adapter(types: tuple[Any, ...]) -> TypeAdapter[tuple[Any, ...]]:
    return TypeAdapter(tuple.__class_getitem__(types))  # type: ignore[arg-type]


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _digest(payload: bytes, context: str) -> bytes:
    # The digest detects mistakes. It needs no key, because a cursor gives access to nothing.
    return blake2b(payload + context.encode(), digest_size=_DIGEST).digest()


def _wrong(parameter: str, code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(FieldError(parameter=parameter, code=code, detail=detail))
