"""Headers that endpoints set on their responses."""

from datetime import UTC, datetime
from typing import Any, Final

from fastapi import Request, Response

from app.core.http._conditional import MAX_HEADER_LENGTH
from app.core.http._root_path import add_root_path
from app.core.paging import Page

# Documents the header that `set_data_time` sets. Pass it to a route as `responses`.
DATA_TIME_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {"Data-As-Of": {"$ref": "#/components/headers/Data-As-Of"}}}
}


def set_location(request: Request, response: Response, path: str) -> None:
    """Set the Location header of a 201 response: the path of the resource that was created.

    `path` is that of the route, for example "/books/7". The header has the prefix ROOT_PATH.
    """
    response.headers["Location"] = add_root_path(request.scope, path)


def set_page_links(request: Request, response: Response, page: Page[Any]) -> None:
    """Set the Link header of a response with one page of a list.

    For example `</books?page=1>; rel="first", </books?page=3>; rel="next"`. It links the first,
    previous, next and last page, as far as they exist and are known.
    """
    # The scope contains the path and the query. Creating `request.url` from it takes longer.
    path = request.scope["path"]
    query = request.scope["query_string"].decode("latin-1")
    link_header = page.link_header(path, query)
    # Proxies may reject a longer header. The body also contains the cursor of the next page.
    if len(link_header) <= MAX_HEADER_LENGTH:
        response.headers["Link"] = link_header


def set_data_time(response: Response, data_as_of: datetime | None) -> None:
    """Set the header Data-As-Of of a response whose data may be old, if the time is known.

    For example `Data-As-Of: 2026-11-21T19:47:34.120512Z`.
    """
    if data_as_of is not None:
        time_in_utc = data_as_of.astimezone(UTC).replace(tzinfo=None)
        response.headers["Data-As-Of"] = f"{time_in_utc.isoformat(timespec='microseconds')}Z"
