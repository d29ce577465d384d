"""The headers Allow and Accept-Patch, which list what a path supports."""

from collections.abc import Iterator
from typing import Final

from fastapi import Request
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

# The request target of `OPTIONS *`, which is about the server as a whole.
SERVER_TARGET: Final = "*"
_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def build_allow_headers(request: Request) -> dict[str, str]:
    """Return the headers that tell a client which methods the path of its request supports.

    For example `{"Allow": "GET, HEAD, OPTIONS, PATCH", "Accept-Patch": "application/json"}`.
    Accept-Patch lists the media types of a PATCH body. It is left out for a path without PATCH.
    """
    headers = {}
    # The server itself supports OPTIONS for every path, and HEAD for every path with GET.
    allowed_methods = {"OPTIONS"}
    scope = _scope_before_routing(request)
    for route in _find_routes_for_path(request, scope):
        route_methods = _methods_of_route(route, scope)
        allowed_methods |= route_methods
        # Each path accepts its own media types, so `OPTIONS *` does not list them.
        if "PATCH" in route_methods and scope["path"] != SERVER_TARGET:
            # A route of a library does not have the attribute `media_types`.
            patch_media_types = getattr(route, "media_types", ["application/json"])
            headers["Accept-Patch"] = ", ".join(patch_media_types)

    if "GET" in allowed_methods:
        allowed_methods.add("HEAD")
    headers["Allow"] = ", ".join(sorted(allowed_methods))
    return headers


def _scope_before_routing(request: Request) -> Scope:
    """Return a copy of the ASGI scope of a request, as it was before a `Mount` handled the request.

    `Mount("/admin", ...)` appends "/admin" to the `root_path` of the scope. With that, the routes
    of the application would no longer match the path.
    """
    scope = dict(request.scope)
    scope["root_path"] = scope.get("app_root_path", scope.get("root_path", ""))
    return scope


def _find_routes_for_path(request: Request, scope: Scope) -> Iterator[BaseRoute]:
    """Yield the routes of the application that match the path of a request, for any method.

    Yield all routes if the request is `OPTIONS *`.
    """
    for route in request.app.routes:
        if scope["path"] == SERVER_TARGET:
            yield route
            continue
        # Pass a copy of the scope, because a route may change it.
        match, _child_scope = route.matches(dict(scope))
        if match is not Match.NONE:
            yield route


def _methods_of_route(route: BaseRoute, scope: Scope) -> set[str]:
    """Return the methods that a route supports, for example `{"GET", "PATCH"}`.

    Args:
        route: A route of this service, or a route of a library such as GraphQL.
        scope: The ASGI scope of a request whose path the route matches.
    """
    # `GuardedRoute` checks the permission for a route of a library, which is its attribute `route`.
    route = getattr(route, "route", route)
    methods: set[str] | None = getattr(route, "methods", None)
    if methods is not None:
        return methods
    if isinstance(route, Mount):
        # A mounted application does not list its methods. Most of them serve pages or files.
        return {"GET"}

    # Other routes may not list their methods either, but match only requests with one of them.
    supported_methods = set()
    for method in _METHODS:
        match, _child_scope = route.matches({**scope, "method": method})
        if match is Match.FULL:
            supported_methods.add(method)
    return supported_methods
