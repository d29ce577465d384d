"""Read a list of the object store page by page."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

ItemT = TypeVar("ItemT")
MarkerT = TypeVar("MarkerT")
log = logging.getLogger(__name__)


async def iterate_pages(
    fetch_page: Callable[[MarkerT | None], Awaitable[tuple[list[ItemT], MarkerT | None]]],
) -> AsyncIterator[list[ItemT]]:
    """Yield the pages of a list, each of which is fetched when the caller asks for it.

    `fetch_page` gets the marker of a page, which is None for the first one. It returns the items of
    the page, and the marker of the next page or None after the last one.

    Some stores ignore the markers of some lists, and would return the same page again and again.
    The list then ends with a warning.
    """
    marker: MarkerT | None = None
    previous_page: list[ItemT] = []
    while True:
        page, next_marker = await fetch_page(marker)
        page_is_repeated = len(page) > 0 and page == previous_page
        if not page_is_repeated:
            yield page
        if next_marker is None:
            return
        if page_is_repeated or next_marker == marker:
            log.warning(
                "the object store returned the same page of a list twice, so the rest of the list"
                " is unknown"
            )
            return
        marker = next_marker
        previous_page = page
