"""Permissions for routes that `core.http.Router` did not declare, and a check that all have one.

Such foreign routes are a mounted application, the router of a GraphQL library or an admin page:

    ROUTERS = (books, authors, ..., ForeignRouter(graphql_router, permission="catalogue:read"))
"""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.requests import HTTPConnection
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.core.access import PERMISSIONS, Permission
from app.core.errors import ServiceError
from app.core.http._authorization import authorize
from app.core.http._route import Route

# The close code of a refused WebSocket (RFC 6455).
_POLICY_VIOLATION: Final = 1008


class GuardedRoute(BaseRoute):
    """A foreign route that handles a request only if the caller has a permission.

    For example, app/api.py adds a mounted application as
    `GuardedRoute(Mount("/admin", admin_app), "users:list")`.
    """

    def __init__(self, route: BaseRoute, permission: Permission) -> None:
        self.route = route
        self.permission: Permission = require_known_permission(permission, route)
        # The request log and the Allow header of a 405 response read these attributes.
        self.path: str = getattr(route, "path", "")
        self.app: Any = getattr(route, "app", None)
        self.endpoint: Any = getattr(route, "endpoint", None)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the foreign route matches a request."""
        return self.route.matches(scope)

    def add_to(self, app: FastAPI) -> None:
        """Add the route to an application."""
        app.router.routes.append(self)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the foreign route with this name."""
        return self.route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the wrapped route if the caller has the permission.

        Otherwise raises `Unauthorized` or `Forbidden`, or closes the connection if the request
        opens a WebSocket, because a WebSocket cannot receive an error response.
        """
        match, _ = self.route.matches(scope)
        # A partial match means that the route has another method. As on our own routes, the
        # response is 405 even if the caller does not have the permission.
        if match is Match.PARTIAL:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            await authorize(HTTPConnection(scope), self.permission)
        except ServiceError:
            if scope["type"] != "websocket":
                raise
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
            return
        await self.route.handle(scope, receive, send)


@dataclass(frozen=True)
class ForeignRouter:
    """A router of a library, whose routes all require the same permission.

    For example `ForeignRouter(graphql_router, permission="catalogue:read", prefix="/graphql")`. Its
    routes are documented in OpenAPI, but may accept unknown parameters and ignore Idempotency-Key,
    unlike the routes of our own `Router`.
    """

    router: APIRouter
    permission: Permission
    prefix: str = ""

    def add_to(self, app: FastAPI) -> None:
        """Include the router in an application, behind the permission."""
        number_of_existing_routes = len(app.router.routes)
        app.include_router(self.router, prefix=self.prefix)
        guard_routes(app, self.permission, start=number_of_existing_routes)


def require_known_permission(permission: Permission, route: object) -> Permission:
    """Return the permission of a route if it exists. Otherwise raise `MissingPermission`.

    `PERMISSIONS` in core/access.py lists all permissions.

    Args:
        permission: For example "catalogue:read".
        route: The route, or its path. The message of the error contains it.
    """
    if permission not in PERMISSIONS:
        raise MissingPermission(route)
    return permission


def guard_routes(app: FastAPI, permission: Permission, *, start: int) -> None:
    """Require a permission for the routes that were added to an application most recently.

    Args:
        app: The application.
        permission: The permission that a caller needs.
        start: The index of the first of these routes in `app.router.routes`.
    """
    routes = app.router.routes
    routes[start:] = [GuardedRoute(route, permission) for route in routes[start:]]


def guarded_routes(app: FastAPI) -> Iterator[GuardedRoute]:
    """Yield the routes of an application that `core.http.Router` did not declare."""
    for route in app.router.routes:
        if isinstance(route, GuardedRoute):
            yield route


def require_route_permissions(app: FastAPI) -> None:
    """Raise `MissingPermission` if any route of an application does not state a permission."""
    # FastAPI keeps the static files that `app.frontend` adds in a second, private list.
    static_file_routes = app.router._low_priority_routes  # noqa: SLF001
    for route in [*app.router.routes, *static_file_routes]:
        if not isinstance(route, Route | GuardedRoute):
            raise MissingPermission(route)


class RoutePermissionChecker:
    """Middleware that refuses all requests if the application has a route without a permission.

    `create_app` checks the routes once. This middleware also notices routes that are added later.
    It raises `MissingPermission`, so it has to be inside the middleware that logs errors.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._number_of_checked_routes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check routes that were added since the last request, then pass the request on."""
        if scope["type"] != "lifespan":
            self._check_new_routes(scope["app"])
        await self._app(scope, receive, send)

    def _check_new_routes(self, app: FastAPI) -> None:
        """Raise `MissingPermission` if a route without a permission was added to the application.

        To keep requests fast, the routes are checked only if their number has changed. Routes are
        never removed.
        """
        static_file_routes = app.router._low_priority_routes  # noqa: SLF001 - private in FastAPI
        number_of_routes = len(app.router.routes) + len(static_file_routes)
        if number_of_routes != self._number_of_checked_routes:
            require_route_permissions(app)
            self._number_of_checked_routes = number_of_routes


class MissingPermission(RuntimeError):
    """Raised for a route that does not require a permission, so that anyone could call it.

    It is raised at startup, or by every request if the route was added later.
    """

    def __init__(self, route: object) -> None:
        super().__init__(
            f"The route {_route_path(route)} has no permission that core.access defines. Declare it"
            " with core.http.Router, or wrap it in core.http.ForeignRouter or GuardedRoute."
        )


def _route_path(route: object) -> str:
    """Return the path of a route, or of the first route of a router, for an error message."""
    if isinstance(route, GuardedRoute):
        return _route_path(route.route)
    path: str | None = getattr(route, "path", None)
    if path is not None:
        return path
    # FastAPI 0.165 keeps an included router as one route that refers to the original.
    router = getattr(route, "original_router", route)
    routes = getattr(router, "routes", None)
    if not routes:
        return repr(route)
    return _route_path(routes[0])
