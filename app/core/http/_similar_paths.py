"""Names the paths that resemble one that does not exist: `/books.csv` for `/books.xlsx`."""

from fastapi import Request

from app.core.http._root_path import add_root_path, get_route_path
from app.core.http._route import Route


def describe_similar_paths(request: Request) -> str | None:
    """Return a question that names paths like that of a request, or None if there are none.

    These differ from it only in the extension or in upper and lower case. For example,
    `/books.xlsx` gets "Did you mean /books, /books.csv or /books.ndjson?".
    """
    requested_stem = _get_stem(get_route_path(request.scope))
    similar_paths: list[str] = []
    for route in request.app.routes:
        is_fixed_path = isinstance(route, Route) and not route.param_convertors
        if is_fixed_path and _get_stem(route.path) == requested_stem:
            similar_path = add_root_path(request.scope, route.path)
            if similar_path not in similar_paths:
                similar_paths.append(similar_path)

    if not similar_paths:
        return None
    *first_paths, last_path = similar_paths
    if not first_paths:
        return f"Did you mean {last_path}?"
    return f"Did you mean {', '.join(first_paths)} or {last_path}?"


def _get_stem(path: str) -> str:
    """Return a path without extensions, in lower case: "/books" for "/Books.csv.gz"."""
    parent, slash, last_segment = path.rpartition("/")
    name, _, _ = last_segment.partition(".")
    return (parent + slash + name).casefold()
