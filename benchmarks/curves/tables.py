"""Curves over the number of books in the table, and over the depth of a page in a list."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from benchmarks.curves.bench import CurveBench
from benchmarks.curves.databases import SizedDatabase
from benchmarks.curves.results import Panel
from benchmarks.servers import Server
from benchmarks.wire import encode_request

PAGE_SIZE: Final = 20
# The pages with which the benchmark walks to a deep page.
_WALK_SIZE: Final = 100
# The deepest page that can be requested by its number.
_MAX_OFFSET: Final = 100_000
DEPTHS: Final = (0, 100, 1_000, 10_000, 100_000)


def measure_rows(bench: CurveBench) -> Panel:
    """Measure the median latency of requests on tables of different sizes."""
    panel = Panel("Books in the table", "books", "ms, median of one connection")
    with ExitStack() as stack:
        variants = []
        for database in bench.databases:
            server = stack.enter_context(bench.server(database))
            for name, requests in _requests_by_name(database).items():
                bench.warm_up(server, requests)
                variants.append((database.books, server, name, requests))
        for _ in range(bench.rounds):
            for books, server, name, requests in variants:
                panel.add(name, books, bench.measure(server, requests).percentile(50) * 1e3)
    return panel


def _requests_by_name(database: SizedDatabase) -> Mapping[str, list[bytes]]:
    """Return the requests of each curve."""
    paths = {
        "first page, no count": "/books?count=none",
        "first page, exact count": "/books?count=exact",
        "search for a rare word": "/books?q=rare&count=none",
        "search for a frequent word": "/books?q=half&count=none",
    }
    return {
        "one book": [encode_request(f"GET /books/{book_id}") for book_id in database.book_ids],
        **{name: [encode_request(f"GET {path}")] for name, path in paths.items()},
    }


def measure_depth(bench: CurveBench) -> Panel:
    """Measure the median latency of a page after more and more rows."""
    panel = Panel("Rows before the page of a list", "rows before the page", "ms")
    database = bench.usual_database
    depths = [depth for depth in DEPTHS if depth < database.books]
    with bench.server(database) as server:
        cursors = _walk_to_depths(server, depths)
        requests = {}
        for depth in depths:
            requests["by cursor", depth] = _page_request(cursors[depth])
            if depth + PAGE_SIZE <= _MAX_OFFSET:
                number = depth // PAGE_SIZE + 1
                requests["by number", depth] = _page_request(f"page={number}&count=none")
        for request in requests.values():
            bench.warm_up(server, [request])
        for _ in range(bench.rounds):
            for (name, depth), request in requests.items():
                result = bench.measure(server, [request])
                # A logarithmic axis has no 0.
                panel.add(name, max(depth, 1), result.percentile(50) * 1e3)
    return panel


def _walk_to_depths(server: Server, depths: list[int]) -> dict[int, str]:
    """Follow the cursors of a list. Return the query string of the page after each depth."""
    queries = {0: "count=none"}
    query = "count=none"
    for depth in range(_WALK_SIZE, max(depths) + 1, _WALK_SIZE):
        _, page = server.send(_page_request(query, _WALK_SIZE))
        query = f"cursor={page['next']}"
        if depth in depths:
            queries[depth] = query
    return queries


def _page_request(query: str, size: int = PAGE_SIZE) -> bytes:
    """Return a request for a page of books."""
    return encode_request(f"GET /books?{query}&size={size}")
