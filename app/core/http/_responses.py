"""Headers that endpoints set on their responses."""

from typing import Any

from fastapi import Request, Response

from app.core.http._conditional import MAX_HEADER_LENGTH
from app.core.paging import Page


def set_location(response: Response, path: str) -> None:
    """Set the Location header of a 201 response: the path of the resource that was created."""
    response.headers["Location"] = path


def set_page_links(request: Request, response: Response, page: Page[Any]) -> None:
    """Set the Link header of a page, for example `</books?page=2>; rel="next"`.

    It contains the first, previous, next and last page, as far as they are known.
    """
    # Reading the scope is faster than `request.url`, which is assembled and parsed again.
    query = request.scope["query_string"].decode("latin-1")
    link_header = page.link_header(request.scope["path"], query)
    # Without the header, a client still finds the cursor of the next page in the body.
    if len(link_header) <= MAX_HEADER_LENGTH:
        response.headers["Link"] = link_header
