"""Permissions for routes that `core.http.Router` did not declare, and a check that all have one.

Such routes come from libraries: a mounted application, a GraphQL router or an admin page.

    ROUTERS = (books, authors, ..., GuardedRouter(graphql_router, permission="catalog:read"))
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
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
from app.core.token_scopes import get_token_scope

# The close code of a refused WebSocket (RFC 6455).
_POLICY_VIOLATION: Final = 1008


class GuardedRoute(BaseRoute):
    """A route of a library that only callers with a permission may use.

    For example, `GuardedRoute(Mount("/admin", admin_app), "users:list")` lets only callers with the
    permission "users:list" send requests to an admin application.
    """

    def __init__(self, route: BaseRoute, permission: Permission) -> None:
        self.route = route
        self.permission: Permission = require_known_permission(permission, route)
        # The request log and the Allow header of a 405 response read these attributes.
        self.path: str = getattr(route, "path", "")
        self.app: Any = getattr(route, "app", None)
        self.endpoint: Any = getattr(route, "endpoint", None)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request has the path and the method of the library's route."""
        return self.route.matches(scope)

    def add_to(self, app: FastAPI) -> None:
        """Add the route to an application."""
        app.router.routes.append(self)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Return the path of the library's route that has this name."""
        return self.route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the library's route if the caller has the permission.

        The token needs the scope that follows from the method of the request.

        Otherwise raises `Unauthorized` or `Forbidden`, or closes the connection if the request
        opens a WebSocket, because a WebSocket cannot receive an error response.
        """
        match, _ = self.route.matches(scope)
        # Starlette calls it a partial match if the route has the path, but not the method.
        has_other_method = match is Match.PARTIAL
        if has_other_method:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            token_scope = get_token_scope(scope.get("method"))
            await authorize(HTTPConnection(scope), self.permission, token_scope)
        except ServiceError:
            if scope["type"] != "websocket":
                raise
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
            return
        await self.route.handle(scope, receive, send)


@dataclass(frozen=True)
class GuardedRouter:
    """A router of a library that only callers with a permission may use.

    For example `GuardedRouter(graphql_router, permission="catalog:read", prefix="/graphql")`. The
    OpenAPI document contains its routes. Unlike the routes of our own `Router`, they may accept
    unknown query parameters and ignore Idempotency-Key.
    """

    router: APIRouter
    permission: Permission
    prefix: str = ""

    def add_to(self, app: FastAPI) -> None:
        """Include the router in an application, behind the permission."""
        with guard_added_routes(app, self.permission):
            app.include_router(self.router, prefix=self.prefix)


def require_known_permission(permission: Permission, route: object) -> Permission:
    """Check that the permission of a route exists, and return it.

    Raises `MissingPermission` if `PERMISSIONS` in core/access.py does not contain the permission.

    Args:
        permission: For example "catalog:read".
        route: The route, or its path. The message of the error contains it.
    """
    if permission not in PERMISSIONS:
        raise MissingPermission(route)
    return permission


@contextmanager
def guard_added_routes(app: FastAPI, permission: Permission) -> Iterator[None]:
    """Require a permission for each route that is added to an application in a `with` block.

    For example, this allows all callers to read static files:

        with guard_added_routes(app, "public"):
            app.mount("/static", StaticFiles(directory="static"))
    """
    routes = app.router.routes
    number_of_existing_routes = len(routes)
    yield
    added_routes = routes[number_of_existing_routes:]
    routes[number_of_existing_routes:] = [GuardedRoute(route, permission) for route in added_routes]


def find_guarded_routes(app: FastAPI) -> Iterator[GuardedRoute]:
    """Yield the routes of an application that `core.http.Router` did not declare."""
    for route in app.router.routes:
        if isinstance(route, GuardedRoute):
            yield route


def require_route_permissions(app: FastAPI) -> None:
    """Raise `MissingPermission` if any route of an application does not state a permission."""
    for route in chain.from_iterable(_get_route_lists(app)):
        if not isinstance(route, Route | GuardedRoute):
            raise MissingPermission(route)


def _get_route_lists(app: FastAPI) -> tuple[list[BaseRoute], list[BaseRoute]]:
    """Return the two lists in which FastAPI keeps the routes of an application.

    FastAPI keeps the routes of static files, which `app.frontend` adds, in a second list, because
    it tries them after all other routes. This list is a private attribute of FastAPI's router.
    """
    return app.router.routes, app.router._low_priority_routes  # noqa: SLF001


class RoutePermissionChecker:
    """Middleware that refuses all requests if the application has a route without a permission.

    `create_app` checks the routes once. This middleware also notices routes that are added later.
    It refuses a request by raising `MissingPermission`, which a middleware around it has to log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Copies of the lists of routes that have been checked.
        self._checked_routes: tuple[list[BaseRoute], list[BaseRoute]] = [], []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if all routes of the application state a permission.

        The routes are checked again only after they have changed, which keeps other requests fast.
        """
        if scope["type"] != "lifespan":
            app: FastAPI = scope["app"]
            routes = _get_route_lists(app)
            if routes != self._checked_routes:
                require_route_permissions(app)
                self._checked_routes = routes[0].copy(), routes[1].copy()
        await self._app(scope, receive, send)


class MissingPermission(RuntimeError):
    """Raised for a route that does not require a permission, so that anyone could call it.

    It is raised at startup, or by every request if the route was added later.
    """

    def __init__(self, route: object) -> None:
        route_path = _find_route_path(route)
        super().__init__(
            f"The route {route_path} has no permission that core.access defines. Declare it with"
            " core.http.Router, or wrap it in core.http.GuardedRouter or GuardedRoute."
        )


def _find_route_path(route: object) -> str:
    """Return the path of a route for an error message, or the path of a router's first route."""
    if isinstance(route, GuardedRoute):
        return _find_route_path(route.route)
    path: str | None = getattr(route, "path", None)
    if path is not None:
        return path
    # A router that was included in another one is a route of FastAPI 0.165, which refers to it.
    router = getattr(route, "original_router", route)
    routes = getattr(router, "routes", None)
    if not routes:
        return repr(route)
    return _find_route_path(routes[0])
