"""Permissions for routes that `core.http.Router` did not declare.

Examples are a mounted application, the router of a GraphQL library, an admin page:

    ROUTERS = (books, authors, ..., ForeignRouter(graphql_router, permission="catalogue:read"))
"""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

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

_POLICY_VIOLATION = 1008  # close code of RFC 6455


class GuardedRoute(BaseRoute):
    """A route of any kind that requires a permission before it handles a request.

    A mounted application is added to app/api.py as `GuardedRoute(Mount("/admin", admin),
    "users:list")`.
    """

    def __init__(self, route: BaseRoute, permission: Permission) -> None:
        self.route = route
        self.permission: Permission = check_permission(permission, route)
        # The request log and the Allow header of a 405 response read these attributes.
        self.path: str = getattr(route, "path", "")
        self.app: Any = getattr(route, "app", None)
        self.endpoint: Any = getattr(route, "endpoint", None)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return self.route.matches(scope)

    def add_to(self, app: FastAPI) -> None:
        """Add the route to an application."""
        app.router.routes.append(self)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        return self.route.url_path_for(name, **path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The path exists, but not for this method. As on our own routes, the 405 needs no token.
        if self.route.matches(scope)[0] is Match.PARTIAL:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            await authorize(HTTPConnection(scope), self.permission)
        except ServiceError:
            if scope["type"] != "websocket":
                raise
            # A WebSocket has no error response: the handshake is refused instead.
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
            return
        await self.route.handle(scope, receive, send)


@dataclass(frozen=True)
class ForeignRouter:
    """An APIRouter that was not written for this service, behind one permission.

    Its routes appear in the OpenAPI document, with the access that they require. The strict rules
    of our own Router (unknown parameters, JSON bodies, Idempotency-Key) do not apply to them.
    """

    router: APIRouter
    permission: Permission
    prefix: str = ""

    def add_to(self, app: FastAPI) -> None:
        """Include the router in an application."""
        first = len(app.router.routes)
        app.include_router(self.router, prefix=self.prefix)
        guard_routes(app, first, self.permission)


def check_permission(permission: Permission, route: object) -> Permission:
    """Return the permission. Raise `MissingPermission` if there is no such permission."""
    if permission not in PERMISSIONS:
        raise MissingPermission(route)
    return permission


def guard_routes(app: FastAPI, first: int, permission: Permission) -> None:
    """Put the routes of an application, from index `first` on, behind a permission."""
    for index in range(first, len(app.router.routes)):
        app.router.routes[index] = GuardedRoute(app.router.routes[index], permission)


def guarded_routes(app: FastAPI) -> Iterator[GuardedRoute]:
    """Yield the guarded routes of an application."""
    for route in app.router.routes:
        if isinstance(route, GuardedRoute):
            yield route


def require_permissions(app: FastAPI) -> None:
    """Raise `MissingPermission` for the first route that does not require a permission."""
    # FastAPI's `app.frontend` adds static files to a second list, which is searched last.
    for route in (*app.router.routes, *app.router._low_priority_routes):  # noqa: SLF001
        if not isinstance(route, Route | GuardedRoute):
            raise MissingPermission(route)


class RequirePermissions:
    """Middleware that refuses every request while any route has no permission.

    It covers routes that are added after the application has started, and servers that do not run
    its lifespan. It has to be inside the middleware that renders and logs errors.
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
        if number_of_routes != self._number_of_checked_routes:
            require_permissions(app)
            self._number_of_checked_routes = number_of_routes


class MissingPermission(RuntimeError):
    """A route, or a router with its routes, would be open to everybody.

    It is raised at startup, and for every request if such a route was added later.
    """

    def __init__(self, route: object) -> None:
        super().__init__(
            f"The route {_name(route)} has no permission that core.access knows: declare it with"
            " core.http.Router, or wrap it in core.http.ForeignRouter or GuardedRoute"
        )


def _name(route: object) -> str:
    """Return the path of a route, or of the first route of a router."""
    if isinstance(route, GuardedRoute):
        return _name(route.route)
    path: str | None = getattr(route, "path", None)
    if path is not None:
        return path
    # FastAPI 0.165 keeps an included router as one route that refers to the original.
    router = getattr(route, "original_router", route)
    routes = getattr(router, "routes", None)
    return _name(routes[0]) if routes else repr(route)
