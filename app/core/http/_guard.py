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
        """Require the permission, then let the foreign route handle the request.

        Raises the errors of `authorize`. A WebSocket has no error response, so its handshake is
        refused instead.
        """
        # The path exists, but not for this method. As on our own routes, the 405 needs no token.
        if self.route.matches(scope)[0] is Match.PARTIAL:
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
    """An APIRouter of a library, whose routes all require one permission.

    The OpenAPI document contains its routes and the roles that may use them. The rules of our own
    Router do not apply to them: they may accept unknown parameters, and ignore Idempotency-Key.
    """

    router: APIRouter
    permission: Permission
    prefix: str = ""

    def add_to(self, app: FastAPI) -> None:
        """Include the router in an application."""
        number_of_other_routes = len(app.router.routes)
        app.include_router(self.router, prefix=self.prefix)
        guard_routes(app, self.permission, start=number_of_other_routes)


def require_known_permission(permission: Permission, route: object) -> Permission:
    """Return the permission if core/access.py defines it.

    Raises `MissingPermission`, which names the route, otherwise.
    """
    if permission not in PERMISSIONS:
        raise MissingPermission(route)
    return permission


def guard_routes(app: FastAPI, permission: Permission, *, start: int) -> None:
    """Require a permission for the routes of an application from the index `start` on."""
    routes = app.router.routes
    routes[start:] = [GuardedRoute(route, permission) for route in routes[start:]]


def guarded_routes(app: FastAPI) -> Iterator[GuardedRoute]:
    """Yield the foreign routes of an application, which are behind a permission."""
    for route in app.router.routes:
        if isinstance(route, GuardedRoute):
            yield route


def require_route_permissions(app: FastAPI) -> None:
    """Raise `MissingPermission` for the first route that does not require a permission."""
    # `app.frontend` of FastAPI adds static files to a second list, which is searched last.
    for route in (*app.router.routes, *app.router._low_priority_routes):  # noqa: SLF001
        if not isinstance(route, Route | GuardedRoute):
            raise MissingPermission(route)


class RoutePermissionChecker:
    """Middleware that raises `MissingPermission` for all requests if any route has no permission.

    The check at startup misses routes that are added later, and servers that do not run the
    lifespan of the application. The middleware has to be inside the one that renders and logs
    errors.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._number_of_checked_routes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._check_new_routes(scope["app"])
        await self._app(scope, receive, send)

    def _check_new_routes(self, app: FastAPI) -> None:
        number_of_routes = len(app.router.routes) + len(app.router._low_priority_routes)  # noqa: SLF001
        # Checking the number is fast, and routes are only ever added.
        if number_of_routes != self._number_of_checked_routes:
            require_route_permissions(app)
            self._number_of_checked_routes = number_of_routes


class MissingPermission(RuntimeError):
    """Raised for a route or router without a valid permission, which anybody could call.

    It is raised at startup, and for every request if the route was added later.
    """

    def __init__(self, route: object) -> None:
        super().__init__(
            f"The route {_route_path(route)} has no permission that core.access knows. Declare it"
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
