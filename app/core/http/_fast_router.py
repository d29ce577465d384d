"""The router of the HTTP fast path: finds the route of a request without asking every route.

FastAPI's router asks its routes one after the other whether they match. Before it, every request
passes through two middleware layers for features that the routes of the fast path do not use: an
exit stack for the files of a form, and a function that observes each message of a response.
`FastRouter` stands in front of these, and handles the requests of the routes that
`_fast_dispatch.py` supports. FastAPI handles all others: other routes, unknown paths, other
methods, traced requests, and all requests if the application is mounted in another one.

The setting HTTP_FAST_PATH=false switches it off. tests/core/test_fast_router.py compares it with
FastAPI's router.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.convertors import StringConvertor
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.http._fast_response import FastResponse
from app.core.http._root_path import get_route_path
from app.core.http._route import Route
from app.core.http._sessions import Handler

# FastAPI sets the first key for each request for which it creates a span, because its router adds
# the path of the route to the span. A router sets the second. If it is set already, the application
# is mounted in another one, and has to add to what the router of that application has stored.
_SCOPE_KEYS_OF_FASTAPI: Final = frozenset({"fastapi.telemetry", "router"})


class FastRouter:
    """The innermost middleware, which handles the requests of routes that have a fast handler."""

    def __init__(self, app: ASGIApp) -> None:
        """Create the middleware. `app` handles all other requests.

        Raises `TypeError` if another middleware follows, because many requests would bypass it.
        """
        # Starlette adds this middleware behind all of an application. It handles errors.
        if not isinstance(app, ExceptionMiddleware):
            raise TypeError("FastRouter must be the last middleware of an application.")
        self._app = app
        self._table = _RouteTable([])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request whose route has a fast handler, and pass any other request on."""
        handler = None
        if scope["type"] == "http" and _SCOPE_KEYS_OF_FASTAPI.isdisjoint(scope):
            handler = self._select_handler(scope)
        if handler is None:
            await self._app(scope, receive, send)
        else:
            await self._handle_request(handler, scope, receive, send)

    def _select_handler(self, scope: Scope) -> Handler | None:
        """Return the fast handler of a request, and store its route in the scope.

        Returns None, and changes nothing, if FastAPI has to handle the request.
        """
        app: FastAPI = scope["app"]
        routes = app.router.routes
        # Routes can be added and removed at any time. Comparing the lists takes 0.15 us.
        if routes != self._table.all_routes:
            self._table = _RouteTable(routes)
        # A direct call of the endpoint would ignore the overrides, which tests may set.
        if app.dependency_overrides:
            return None
        match = self._table.find(scope["method"], get_route_path(scope))
        if match is None:
            return None
        route, path_params = match
        if route.fast_handler is not None:
            # FastAPI's router stores the same values.
            scope["router"] = app.router
            scope["route"] = route
            scope["endpoint"] = route.endpoint
            scope["path_params"] = path_params
        return route.fast_handler

    async def _handle_request(
        self, handler: Handler, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Handle a request and send its response, or that of the error handler for its error."""
        try:
            response: ASGIApp = await handler(Request(scope, receive, send))
        except Exception as error:  # noqa: BLE001 - `_RaiseError` raises it again
            response = _RaiseError(error)
        if not isinstance(response, FastResponse):
            # Sending another response can fail, for example if it is a stream.
            response = self._with_error_handlers(response)
        await response(scope, receive, send)

    def _with_error_handlers(self, response: ASGIApp) -> ASGIApp:
        """Return an ASGI application that sends a response, and handles errors as FastAPI does."""
        middleware = copy(self._app)
        middleware.app = response
        return middleware


class _RouteTable:
    """Finds the route of a method and a path, in the order in which the routes are declared.

    The table ends before the first route that can match paths with any number of slashes, such as
    the mount of a library, because FastAPI would try it before the routes behind it.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """Create the table from all routes of an application."""
        self.all_routes = list(routes)
        # For example `{("GET", "/books"): <route>}`.
        self._literal_routes: dict[tuple[str, str], Route] = {}
        # The routes of paths with parameters, by method and number of slashes. For example
        # `{("GET", 2): [<route of /books/{id}>, <route of /authors/{id}>]}`.
        self._parameter_routes: dict[tuple[str, int], list[Route]] = {}
        for route in _select_simple_routes(routes):
            for method in route.methods or ():
                self._add(method, route)

    def _add(self, method: str, route: Route) -> None:
        """Add a route for one of its methods."""
        if route.param_convertors:
            key = method, route.path.count("/")
            self._parameter_routes.setdefault(key, []).append(route)
        # An earlier route, also one with parameters, takes precedence.
        elif self.find(method, route.path) is None:
            self._literal_routes[method, route.path] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]] | None:
        """Return the route of a request and its path parameters, for example `{"id": "7"}`.

        Returns None if there is no such route in the table.
        """
        # Starlette ignores one line feed at the end of a path.
        if path.endswith("\n"):
            return None
        literal_route = self._literal_routes.get((method, path))
        if literal_route is not None:
            return literal_route, {}
        for route in self._parameter_routes.get((method, path.count("/")), ()):
            path_params = route.match_path(path)
            if path_params is not None:
                return route, path_params
        return None


def _select_simple_routes(routes: Sequence[BaseRoute]) -> Iterator[Route]:
    """Yield our own routes, up to the first that may match paths with any number of slashes."""
    for route in routes:
        # A subclass may match paths in another way.
        if type(route) is not Route:
            return
        # A parameter of this type contains no slash, and its value is the text in the path.
        convertors = route.param_convertors.values()
        if not all(type(convertor) is StringConvertor for convertor in convertors):
            return
        yield route


class _RaiseError:
    """An ASGI application that raises an error, so that Starlette handles it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise self._error
