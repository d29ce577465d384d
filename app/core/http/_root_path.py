"""The path prefix (ROOT_PATH) under which a reverse proxy publishes the service.

The scope of a request contains it as `root_path`, and `path` begins with it, as ASGI specifies.
"""

from fastapi import FastAPI
from starlette.types import Scope


def get_route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix, for example "/books".

    Routes are declared with such paths.
    """
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def add_root_path(scope: Scope, route_path: str) -> str:
    """Return the path of another resource with the prefix of a request, such as "/api/books/7"."""
    root_path: str = scope.get("root_path", "")
    return root_path + route_path


def require_unused_root_path(app: FastAPI, root_path: str) -> None:
    """Raise `ValueError` if the prefix begins like the path of a route.

    With the prefix "/books", the path "/books" could be that of the list of books without the
    prefix, or that of the whole service with it.
    """
    root_segment = _get_first_segment(root_path)
    for route in app.routes:
        route_path: str = getattr(route, "path", "")
        if root_segment != "" and root_segment == _get_first_segment(route_path):
            raise ValueError(
                f"ROOT_PATH must not begin with /{root_segment}, because the service has the path"
                f" {route_path}"
            )


def _get_first_segment(path: str) -> str:
    """Return the first part of a path, for example "books" for "/books/{id}"."""
    return path.removeprefix("/").partition("/")[0]
