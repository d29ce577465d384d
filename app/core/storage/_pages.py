"""Read a list of the object store page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from app.core.storage._object_store import StoreFailed

ItemT = TypeVar("ItemT")
MarkerT = TypeVar("MarkerT")
REPEATED_PAGE: Final = "the store returns the same page of a list again, so the rest is unknown"


async def iterate_pages(
    fetch_page: Callable[[MarkerT | None], Awaitable[tuple[list[ItemT], MarkerT | None]]],
) -> AsyncIterator[list[ItemT]]:
    """Yield the pages of a list, each of which is fetched when the caller asks for it.

    `fetch_page` gets the marker of a page, which is None for the first one. It returns the items of
    the page, and the marker of the next page or None after the last one.

    Raises `StoreFailed` if the store returns the same page again, instead of asking for it forever.
    Some stores ignore the markers of some lists.
    """
    marker: MarkerT | None = None
    previous_page: list[ItemT] = []
    while True:
        page, next_marker = await fetch_page(marker)
        page_is_repeated = len(page) > 0 and page == previous_page
        if page_is_repeated:
            raise StoreFailed(REPEATED_PAGE)
        yield page
        if next_marker is None:
            return
        if next_marker == marker:
            raise StoreFailed(REPEATED_PAGE)
        marker = next_marker
        previous_page = page
