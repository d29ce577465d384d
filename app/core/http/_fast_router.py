"""The router of the HTTP fast path: finds the route of a request without asking every route.

FastAPI's router asks its routes one after the other whether they match. Before it, every request
passes through two middleware layers for features that the routes of the fast path do not use: an
exit stack for the files of a form, and a function that observes each message of a response.
`FastRouter` stands in front of these, and handles the requests of the routes that
`_fast_dispatch.py` supports. FastAPI handles all others: other routes, unknown paths, other methods
and traced requests.

The setting HTTP_FAST_PATH=false switches it off. tests/core/test_fast_router.py compares it with
FastAPI's router.
"""

from collections.abc import Iterator, Sequence
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

# FastAPI sets this key in the scope of each request for which it creates a span. Its own router
# adds the path of the route to the span.
_TRACED_SCOPE_KEY: Final = "fastapi.telemetry"


class FastRouter:
    """The innermost middleware, which handles the requests of routes that have a fast handler."""

    def __init__(self, app: ASGIApp) -> None:
        """Create the middleware. `app` handles all other requests."""
        self._app = app
        self._table = _RouteTable(())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request whose route has a fast handler, and pass any other request on."""
        handler = None
        if scope["type"] == "http" and _TRACED_SCOPE_KEY not in scope:
            handler = self._select_handler(scope)
        if handler is None:
            await self._app(scope, receive, send)
        else:
            await _handle_request(handler, scope, receive, send)

    def _select_handler(self, scope: Scope) -> Handler | None:
        """Return the fast handler of a request, and store its route in the scope.

        Returns None, and changes nothing, if FastAPI has to handle the request.
        """
        app: FastAPI = scope["app"]
        routes = app.router.routes
        # Routes can be added, but not removed.
        if len(routes) != self._table.number_of_routes:
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


class _RouteTable:
    """Finds the route of a method and a path, in the order in which the routes are declared.

    The table ends before the first route that can match paths with any number of slashes, such as
    the mount of a library, because FastAPI would try it before the routes behind it.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """Create the table from all routes of an application."""
        self.number_of_routes = len(routes)
        # For example `{("GET", "/books"): <route>}`.
        self._literal_routes: dict[tuple[str, str], Route] = {}
        # The routes of paths with parameters, by method and number of slashes. For example
        # `{("GET", 2): [<route of /books/{id}>, <route of /authors/{id}>]}`.
        self._parameter_routes: dict[tuple[str, int], list[Route]] = {}
        for route in _select_simple_routes(routes):
            for method in route.methods or ():
                if route.param_convertors:
                    key = method, route.path.count("/")
                    self._parameter_routes.setdefault(key, []).append(route)
                else:
                    self._literal_routes.setdefault((method, route.path), route)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]] | None:
        """Return the route of a request and its path parameters, for example `{"id": "7"}`.

        Returns None if there is no such route in the table.
        """
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
        if not isinstance(route, Route):
            return
        # A parameter of this type contains no slash.
        convertors = route.param_convertors.values()
        if not all(isinstance(convertor, StringConvertor) for convertor in convertors):
            return
        yield route


async def _handle_request(handler: Handler, scope: Scope, receive: Receive, send: Send) -> None:
    """Handle a request and send its response, or that of the error handler of the application."""
    try:
        response: ASGIApp = await handler(Request(scope, receive, send))
    except Exception as error:  # noqa: BLE001 - `_RaiseError` raises it again
        response = _RaiseError(error)
    if not isinstance(response, FastResponse):
        response = _with_error_handlers(scope["app"], response)
    await response(scope, receive, send)


class _RaiseError:
    """An ASGI application that raises an error, so that Starlette handles it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise self._error


def _with_error_handlers(app: FastAPI, response: ASGIApp) -> ASGIApp:
    """Return an ASGI application that sends a response, and handles errors as FastAPI does."""
    handlers = {
        key: handler
        for key, handler in app.exception_handlers.items()
        # FastAPI calls a handler of unexpected errors outside of all middleware.
        if key not in (500, Exception)
    }
    return ExceptionMiddleware(response, handlers=handlers)
