"""Lists in the API: their query parameters, pages and the `Link` header."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Final, Generic, Literal, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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

# Rows. Reading a page takes longer the more rows come before it. A cursor costs the same anywhere.
MAX_OFFSET: Final = 100_000
# The query parameters that select a page. They do not filter or sort the list.
PAGE_PARAMETERS: Final = {"page", "size", "cursor", "count"}
T = TypeVar("T")
Item = TypeVar("Item", bound=BaseModel)
# Accepts any page number, so that the error of `require_valid_position` can explain the limit.
_PAGE_NUMBER: Final = replace(
    integer_between(1, MAX_INT64), json_schema=integer_between(1, MAX_OFFSET).json_schema
)


def _split_sort_keys(value: Any) -> Any:
    """Convert `["title,-id"]` or `["title", "-id"]` to the list of sort keys `["title", "-id"]`.

    Returns any other value unchanged, for which Pydantic then raises an error. Raises `ValueError`
    if a key is repeated, in the same or the opposite direction.
    """
    if not isinstance(value, list):
        return value
    sort_keys = [key for text in value for key in text.split(",")]
    columns = {key.removeprefix("-") for key in sort_keys}
    if len(columns) < len(sort_keys):
        raise ValueError("Must not contain the same sort key twice")
    return sort_keys


class CommaSeparated(BeforeValidator):
    """Marks a query parameter whose values are separated by commas, for example `sort=title,-id`.

    The OpenAPI document shows such a parameter in this form.
    """


def _document_sort_keys(schema: dict[str, Any]) -> None:
    """Change the JSON schema of `sort`: at least one key, unique keys, and no default."""
    schema.pop("default", None)
    schema.update(minItems=1, uniqueItems=True)


# Type of a filter that a client may repeat, for example `id: AnyOf[Id] = ()` for `?id=...&id=...`.
AnyOf = Annotated[tuple[T, ...], Field(max_length=100, description="Matches any of these values")]
# Type of the query parameter `sort`, for example `SortKeys[Literal["title", "-title"]]`.
SortKeys = Annotated[
    tuple[T, ...],
    CommaSeparated(_split_sort_keys),
    Field(
        description=(
            "Sort keys, separated by commas. `-` before a key sorts in descending order."
            " Default: the oldest first"
        ),
        json_schema_extra=_document_sort_keys,
    ),
]


class PageQuery(RequestModel):
    """Query parameters of every list: the page, and how to count the items of the list."""

    page: Annotated[int, _PAGE_NUMBER] | None = Field(
        default=None,
        description=(
            "Number of the page, starting at 1. `page` times `size` is at most 100,000; use"
            " `cursor` to read further"
        ),
    )
    # The OpenAPI document contains no default, because a client that sends all defaults would send
    # `size` also in a request for CSV or JSON lines, which have no pages.
    size: Annotated[int, integer_between(1, 100)] = Field(
        default=20,
        description="Maximum number of items per page. Default: 20",
        json_schema_extra=remove_default,
    )
    cursor: Annotated[str, string_of_length(1, 4000)] | None = Field(
        default=None,
        description="The `next` of the previous page. Repeat the sort keys and filters with it",
    )
    count: Literal["exact", "none", "estimated"] | None = Field(
        default=None,
        description=(
            "How to determine `total`. Default: `exact`, or `none` with a cursor. A list that"
            " contains only the caller's own items is never estimated, but counted exactly"
        ),
    )

    def require_valid_position(self) -> None:
        """Raise `InvalidRequest` if the page is too deep, or if there is a page and a cursor."""
        if self.page is not None and self.cursor is not None:
            detail = "Use either page or cursor, not both"
            raise _parameter_error("cursor", "exclusive", detail)
        page_number = self.page or 1
        if page_number * self.size > MAX_OFFSET:
            detail = f"page times size must be at most {MAX_OFFSET:,}. Use a cursor to read further"
            raise _parameter_error("page", "page_too_deep", detail)

    def requested_sort(self) -> tuple[str, ...]:
        """Return the sort keys that the client requests, for example `("title", "-id")`.

        An empty tuple stands for the default order of the list.
        """
        return ()

    def requested_filters(self) -> dict[str, Any]:
        """Return the filters that the client sent, for example `{"q": "garcia"}`.

        Each name is that of a condition of the repository.
        """
        return self.model_dump(exclude={*PAGE_PARAMETERS, "sort"}, exclude_unset=True)

    def count_mode(self) -> str:
        """Return how to determine the total: `exact`, `estimated` or `none`."""
        if self.count is not None:
            return self.count
        if self.cursor is not None:
            return "none"
        return "exact"


class ListQuery(PageQuery):
    """Query parameters of a list of entities. Subclasses restrict `sort` and add filters."""

    sort: SortKeys[str] = ()
    q: Annotated[str, string_of_length(1, 100)] | None = Field(
        default=None,
        description=(
            "Search words. An item matches if each of them is the beginning of one of its words,"
            " regardless of case and accents"
        ),
    )
    created_from: Instant | None = Field(
        default=None, description="Only items created at this time or later"
    )
    created_to: Instant | None = Field(
        default=None, description="Only items created before this time"
    )
    updated_from: Instant | None = Field(
        default=None, description="Only items whose `updated_at` is this time or later"
    )
    updated_to: Instant | None = Field(
        default=None, description="Only items whose `updated_at` is before this time"
    )

    def requested_sort(self) -> tuple[str, ...]:
        """Return the sort keys of the query parameter `sort`."""
        return self.sort


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    # The OpenAPI document contains only subclasses, and they do not inherit the docstring.
    model_config = ConfigDict(json_schema_extra={"description": "One page of a list."})

    items: list[Item]
    total: int | None = Field(
        description="Number of items in the whole list; null if they are not counted", examples=[1]
    )
    page: int | None = Field(
        description="Number of this page; null if it was requested by cursor", examples=[1]
    )
    size: int = Field(description="Maximum number of items per page", examples=[20])
    pages: int | None = Field(
        description="Number of pages; null if the items are not counted", examples=[1]
    )
    next: str | None = Field(
        max_length=4000,
        description="Cursor of the next page; null on the last page",
        examples=[None],
    )

    def link_header(self, path: str, query: str) -> str:
        """Return the `Link` header (RFC 8288) of the page, with those links that are known.

        For example `</books?page=1>; rel="first", </books?page=3>; rel="next"`. `path` and `query`
        are those of the request.
        """
        parameters = parse_qsl(query, keep_blank_values=True)
        other_query = urlencode([pair for pair in parameters if pair[0] not in {"page", "cursor"}])
        url = f"{path}?{other_query}&" if other_query else f"{path}?"
        total_is_exact = ("count", "estimated") not in parameters
        links = []
        for relation, position in self._link_positions(total_is_exact=total_is_exact):
            links.append(f'<{url}{position}>; rel="{relation}"')
        return ", ".join(links)

    def _link_positions(self, *, total_is_exact: bool) -> Iterator[tuple[str, str]]:
        """Yield the relation and the position of each link, for example `("next", "page=3")`.

        Beyond `MAX_OFFSET`, the position of the next page is a cursor, for example `cursor=aGVs`.
        """
        deepest_page = MAX_OFFSET // self.size
        last_page = self.pages if total_is_exact else None
        yield "first", "page=1"
        if self.page is not None and self.page > 1:
            # The requested page may be behind the last one.
            end = deepest_page if last_page is None else last_page
            yield "prev", f"page={max(1, min(self.page - 1, end))}"
        if self.next is not None:
            if self.page is not None and self.page < deepest_page:
                yield "next", f"page={self.page + 1}"
            else:
                yield "next", f"cursor={self.next}"
        if last_page is not None and last_page <= deepest_page:
            yield "last", f"page={max(1, last_page)}"


def _parameter_error(parameter: str, code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(FieldError(parameter=parameter, code=code, detail=detail))
