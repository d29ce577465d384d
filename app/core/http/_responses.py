"""Headers that endpoints set on their responses."""

from typing import Any

from fastapi import Request, Response

from app.core.http._conditional import MAX_HEADER_LENGTH
from app.core.paging import Page


def set_location(response: Response, path: str) -> None:
    """Set the Location header: where the resource that was created can be read."""
    response.headers["Location"] = path


def set_page_links(request: Request, response: Response, page: Page[Any]) -> None:
    """Set the Link header of a page: `first`, `prev`, `next` and `last` where they are known."""
    # Taken from the scope, because `request.url` is assembled and parsed again.
    query = request.scope["query_string"].decode("latin-1")
    links = page.link_header(request.scope["path"], query)
    # A proxy would refuse a longer header. The body has the cursor of the next page as well.
    if len(links) <= MAX_HEADER_LENGTH:
        response.headers["Link"] = links
