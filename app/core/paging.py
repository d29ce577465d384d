"""Lists in the API: their query parameters, pages and the `Link` header."""

from dataclasses import replace
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.core.column_filters import choose_condition_name
from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.page_links import PageLinks
from app.core.schemas import MAX_INT64, RequestModel, integer_between, string_of_length
from app.core.search_words import SEARCH_WORDS_DESCRIPTION
from app.core.time_filters import CreatedFrom, CreatedTo, UpdatedFrom, UpdatedTo

# Rows. The deeper a page is, the longer it takes to read by number, but not by cursor.
MAX_OFFSET: Final = 100_000
MAX_PAGE_SIZE: Final = 100  # items
# Items that `count=bounded` counts: as many as pages by number can reach.
MAX_BOUNDED_TOTAL: Final = MAX_OFFSET
# How to determine the total number of items. The OpenAPI document explains each mode.
CountMode = Literal["bounded", "exact", "none", "estimated"]
# The query parameters that select a page. They do not filter or sort the list.
PAGE_PARAMETERS: Final = {"page", "size", "cursor", "count"}
ValueT = TypeVar("ValueT")
ItemT = TypeVar("ItemT", bound=BaseModel)
# Accepts any page number, so that the error of `require_valid_position` can explain the limit.
_PAGE_NUMBER: Final = replace(
    integer_between(1, MAX_INT64), json_schema=integer_between(1, MAX_OFFSET).json_schema
)


def _split_sort_keys(parameter_values: Any) -> Any:
    """Split the values of the query parameter `sort` into sort keys.

    For example, `["title,-id"]` (from `?sort=title,-id`) and `["title", "-id"]` (from
    `?sort=title&sort=-id`) both become `["title", "-id"]`. Raises `ValueError` if a key occurs
    twice, in the same or in opposite directions.
    """
    if not isinstance(parameter_values, list):
        # Pydantic raises the error for a value that is not a list.
        return parameter_values
    sort_keys = [key for value in parameter_values for key in value.split(",")]
    keys_without_direction = {key.removeprefix("-") for key in sort_keys}
    if len(keys_without_direction) < len(sort_keys):
        raise ValueError("Must not contain the same sort key twice")
    return sort_keys


class CommaSeparated(BeforeValidator):
    """Annotation of a query parameter with comma-separated values, such as `sort=title,-id`.

    The OpenAPI document describes such a parameter with `explode: false`.
    """


def _document_sort_keys(json_schema: dict[str, Any]) -> None:
    """Change the JSON schema of `sort`: at least one key, unique keys, and no default."""
    json_schema.pop("default", None)
    json_schema.update(minItems=1, uniqueItems=True)
    allowed_keys = json_schema["items"].get("enum")
    if allowed_keys is not None:
        json_schema["maxItems"] = len(allowed_keys)


# Type of a filter that a client may repeat, for example `id: AnyOf[Id] = ()` for `?id=...&id=...`.
AnyOf = Annotated[
    tuple[ValueT, ...], Field(max_length=100, description="Matches any of these values")
]
# Type of the query parameter `sort`, for example `SortKeys[Literal["title", "-title"]]`.
SortKeys = Annotated[
    tuple[ValueT, ...],
    CommaSeparated(_split_sort_keys),
    Field(
        description=(
            "Sort keys, separated by commas. `-` before a key sorts in descending order. Texts are"
            " sorted without case and accents; equal ones are sorted by code points. Default: the"
            " oldest first."
        ),
        json_schema_extra=_document_sort_keys,
    ),
]


class PageQuery(RequestModel):
    """Query parameters that every list endpoint accepts: the page, and how to count all items."""

    page: Annotated[int, _PAGE_NUMBER] | None = Field(
        None,
        description=(
            "Number of the page, starting at 1. `page` times `size` is at most 100,000; use"
            " `cursor` to read further."
        ),
    )
    size: Annotated[int, integer_between(1, MAX_PAGE_SIZE)] = Field(
        20, description="Maximum number of items per page"
    )
    cursor: Annotated[str, string_of_length(1, 4000)] | None = Field(
        None,
        description="The `next` of the previous page. Repeat the sort keys and filters with it.",
    )
    count: CountMode | None = Field(
        None,
        description=(
            "How to determine `total`. `bounded` counts up to 100,000 items; if there are more,"
            " `total` is null and `total_at_least` is 100,001. `exact` counts all items, which"
            " takes the longer the more there are. `estimated` is fast and approximate. `none`"
            " does not count. Default: `bounded`, or `none` with a cursor. A list that"
            " contains only the caller's own items is never estimated, but counted exactly."
        ),
    )

    def require_valid_position(self) -> None:
        """Raise `InvalidRequest` for a page and a cursor together, or a page that is too deep."""
        if self.page is not None and self.cursor is not None:
            raise _parameter_error("cursor", "exclusive", "Use either page or cursor, not both")
        page_number = self.page or 1
        if page_number * self.size > MAX_OFFSET:
            detail = f"page times size must be at most {MAX_OFFSET:,}. Use a cursor to read further"
            raise _parameter_error("page", "page_too_deep", detail)

    def requested_sort(self) -> tuple[str, ...]:
        """Return the sort keys that the client sent, for example `("title", "-id")`.

        An empty tuple means that the list has its default order.
        """
        return ()

    def requested_filters(self) -> dict[str, Any]:
        """Return the filters that the client sent, for example `{"q": "garcia"}`.

        The repository of the list defines a condition for each of these names.
        """
        filters = self.model_dump(exclude={*PAGE_PARAMETERS, "sort"}, exclude_unset=True)
        return {choose_condition_name(name, value): value for name, value in filters.items()}

    def count_mode(self) -> CountMode:
        """Return how to determine the total number of items.

        The default is `bounded`, or `none` with a cursor.
        """
        if self.count is not None:
            return self.count
        if self.cursor is not None:
            return "none"
        return "bounded"


class ListQuery(PageQuery):
    """Base class of the query parameters of a list of entities.

    Subclasses list the allowed sort keys as the type of `sort`, and add filters as fields.
    """

    sort: SortKeys[str] = ()
    q: Annotated[str, string_of_length(1, 100)] | None = Field(
        None, description=SEARCH_WORDS_DESCRIPTION
    )
    created_from: CreatedFrom = None
    created_to: CreatedTo = None
    updated_from: UpdatedFrom = None
    updated_to: UpdatedTo = None

    def requested_sort(self) -> tuple[str, ...]:
        """Return the sort keys of the query parameter `sort`."""
        return self.sort


class Page(BaseModel, Generic[ItemT]):
    """One page of a list."""

    # The OpenAPI document contains only subclasses, and they do not inherit the docstring.
    model_config = ConfigDict(json_schema_extra={"description": "One page of a list."})

    items: list[ItemT] = Field(max_length=MAX_PAGE_SIZE)
    total: int | None = Field(
        ge=0,
        le=MAX_INT64,
        description=(
            "Number of items in the whole list; null if they are not counted, or if there are"
            " `total_at_least`"
        ),
        examples=[1],
    )
    total_at_least: int | None = Field(
        ge=1,
        le=MAX_INT64,
        description=(
            "The list has this number of items or more; null unless `count` is `bounded` and there"
            " are more items than it counts"
        ),
        examples=[None],
    )
    page: int | None = Field(
        ge=1,
        le=MAX_OFFSET,
        description="Number of this page; null if it was requested by cursor",
        examples=[1],
    )
    size: int = Field(
        ge=1, le=MAX_PAGE_SIZE, description="Maximum number of items per page", examples=[20]
    )
    pages: int | None = Field(
        ge=0,
        le=MAX_INT64,
        description="Number of pages; null if `total` is null or this page was requested by cursor",
        examples=[1],
    )
    next: str | None = Field(
        max_length=4000,
        description="Cursor of the next page; null on the last page",
        examples=[None],
    )

    def link_header(self, path: str, query: str) -> str:
        """Return the `Link` header for a request with this path and query (see `PageLinks`)."""
        # The deepest page that `require_valid_position` allows.
        deepest_page = MAX_OFFSET // self.size
        links = PageLinks(self.page, self.pages, self.next, deepest_page)
        return links.format_header(path, query)


def _parameter_error(parameter: str, code: str, detail: str) -> InvalidRequest:
    """Return a 422 error for one query parameter."""
    return InvalidRequest(FieldError(parameter=parameter, code=code, detail=detail))
