"""Finds the route that has handled a request, for its log line and the metrics."""

from typing import Final

from starlette.routing import BaseRoute
from starlette.types import Scope

UNKNOWN_ROUTE: Final = "unknown"


def find_route_path(scope: Scope) -> str:
    """Return the path template of the route that handled a request, for example "/books/{id}".

    Returns `UNKNOWN_ROUTE` if the path of the request matches none of the routes.
    """
    route = scope.get("route")
    if route is None:
        route = _find_starlette_route(scope)
    return getattr(route, "path", UNKNOWN_ROUTE)


def _find_starlette_route(scope: Scope) -> BaseRoute | None:
    """Return the plain Starlette route that handled a request, for example the mount of `/static`.

    FastAPI's own routes store themselves in the scope as "route". Starlette's routes store only
    their "endpoint" there, so this searches for the route that has the same endpoint.

    Returns None if the request has no endpoint because its path matches none of the routes.
    """
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    routes: list[BaseRoute] = scope["app"].routes
    for route in routes:
        route_endpoint = getattr(route, "endpoint", None)
        # The endpoint of a mount is the application that is mounted.
        mounted_app = getattr(route, "app", None)
        if endpoint in (route_endpoint, mounted_app):
            return route
    return None
