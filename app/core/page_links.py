"""The `Link` header of a page (RFC 8288), which links it with other pages of the list."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode


@dataclass(frozen=True)
class PageLinks:
    """The pages to which a page of a list links.

    Args:
        page: The number of the page, or None if it was requested by cursor.
        pages: The number of pages, or None if the items were not counted.
        next_cursor: The cursor of the next page, or None on the last page.
        deepest_page: The highest page number that a client may request.
    """

    page: int | None
    pages: int | None
    next_cursor: str | None
    deepest_page: int

    def format_header(self, path: str, query: str) -> str:
        """Return the header, such as `</books?page=1>; rel="first", </books?page=3>; rel="next"`.

        The links contain all query parameters of the request except `page` and `cursor`, which
        they replace.

        Args:
            path: The path of the request, for example `/books`.
            query: The query of the request, for example `sort=title&page=2`.
        """
        parameters = parse_qsl(query, keep_blank_values=True)
        other_parameters = "".join(
            f"{urlencode({name: value})}&"
            for name, value in parameters
            if name not in {"page", "cursor"}
        )
        total_is_exact = ("count", "estimated") not in parameters

        links = []
        for relation, position in self._positions(total_is_exact=total_is_exact):
            links.append(f'<{path}?{other_parameters}{position}>; rel="{relation}"')
        return ", ".join(links)

    def _positions(self, *, total_is_exact: bool) -> Iterator[tuple[str, str]]:
        """Yield the relation and the query parameter of each link, such as `("next", "page=3")`.

        The link to the next page has a cursor, `("next", "cursor=aGVs")`, if the client has
        requested this page by cursor, or if the next page is too deep for a page number.
        """
        last_page = self.pages if total_is_exact else None

        yield "first", "page=1"
        if self.page is not None and self.page > 1:
            # The requested page may be beyond the end of the list.
            highest_page = self.deepest_page if last_page is None else last_page
            previous_page = max(1, min(self.page - 1, highest_page))
            yield "prev", f"page={previous_page}"

        if self.next_cursor is not None:
            if self.page is not None and self.page < self.deepest_page:
                yield "next", f"page={self.page + 1}"
            else:
                yield "next", f"cursor={self.next_cursor}"
        if last_page is not None and last_page <= self.deepest_page:
            # The only page of an empty list is page 1, although the list has 0 pages.
            yield "last", f"page={max(1, last_page)}"
