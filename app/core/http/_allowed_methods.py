"""The headers Allow and Accept-Patch, which list what a path supports."""

from typing import Final

from fastapi import Request
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def allow_headers(request: Request) -> dict[str, str]:
    """Return the headers that list the methods of the request's path, of all of its routes.

    For example `{"Allow": "GET, HEAD, OPTIONS, PATCH", "Accept-Patch": "application/json"}`.
    Accept-Patch, the media types of a PATCH body, is absent if the path does not support PATCH.
    """
    scope = dict(request.scope)
    # A mount that the request went through has added its own path to `root_path`.
    scope["root_path"] = scope.get("app_root_path", scope.get("root_path", ""))
    headers = {}
    methods = {"OPTIONS"}
    for route in request.app.routes:
        # Routes may change the scope that they match.
        match, _ = route.matches(dict(scope))
        if match is Match.NONE:
            continue
        route_methods = _methods_of_route(route, scope)
        methods |= route_methods
        if "PATCH" in route_methods:
            media_types = getattr(route, "media_types", ["application/json"])
            headers["Accept-Patch"] = ", ".join(media_types)
    if "GET" in methods:
        methods.add("HEAD")
    headers["Allow"] = ", ".join(sorted(methods))
    return headers


def _methods_of_route(route: BaseRoute, scope: Scope) -> set[str]:
    """Return the methods of a route that matches the path of the scope.

    A route that does not list its methods is asked for each of them.
    """
    # A guarded foreign route wraps the original one.
    route = getattr(route, "route", route)
    methods: set[str] | None = getattr(route, "methods", None)
    if methods is not None:
        return methods
    if isinstance(route, Mount):
        return {"GET"}
    supported_methods = set()
    for method in _METHODS:
        match, _ = route.matches({**scope, "method": method})
        if match is Match.FULL:
            supported_methods.add(method)
    return supported_methods
