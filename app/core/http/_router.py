"""Declaring endpoints: a Router whose every route states its permission.

router = Router(prefix="/books", tags=["books"])

@router.get("/{id}", permission="catalogue:read")
async def read_book(id: BookId, books: Books, response: Response) -> BookRead: ...
"""

from collections.abc import Callable, Sequence
from http.client import CREATED, NO_CONTENT, OK
from typing import Any, Final, TypedDict, TypeVar, Unpack

from fastapi import FastAPI, Response, params

from app.core.access import Permission
from app.core.errors import ServiceError
from app.core.http._guard import ForeignRouter, GuardedRoute, MissingPermission, check_permission
from app.core.http._problems import responses as problem_responses
from app.core.http._route import Route

REVALIDATE: Final = "private, no-cache"  # a browser may keep the response, but asks before use
NO_STORE: Final = "no-store"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class EndpointOptions(TypedDict, total=False):
    """The optional arguments of an endpoint's declaration."""

    # The status of a successful response. The default is 200, or 204 for DELETE.
    status_code: int
    # The problems to document besides those that follow from method, parameters and permission.
    errors: Sequence[type[ServiceError]]
    # Documents a Location header. The default is True for 201.
    has_location: bool
    # The others are FastAPI's.
    response_model: Any
    response_class: type[Response]
    responses: dict[int | str, dict[str, Any]]
    dependencies: Sequence[params.Depends]
    openapi_extra: dict[str, Any]


class Router:
    """Declares the endpoints of one package. `add_routers` adds them to the application.

    Args:
        prefix: The beginning of every path.
        tags: The group of the endpoints in the OpenAPI document.
        cache_control: The Cache-Control header of every response that has content, unless an
            endpoint sets its own. None for responses without the header.
    """

    def __init__(
        self, *, prefix: str = "", tags: list[str], cache_control: str | None = REVALIDATE
    ) -> None:
        self.routes: list[Route] = []
        self.prefix = prefix
        self._tags = tags
        self._cache_control = cache_control

    def get(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that reads."""
        return self._declare("GET", path, permission, options)

    def post(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that creates something or performs an action.

        Unless it is public, it accepts an Idempotency-Key.
        """
        return self._declare("POST", path, permission, options)

    def patch(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that changes a resource (JSON merge patch)."""
        return self._declare("PATCH", path, permission, options)

    def delete(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that deletes a resource; its response has no content."""
        options.setdefault("status_code", NO_CONTENT)
        return self._declare("DELETE", path, permission, options)

    def _declare(
        self, method: str, path: str, permission: Permission, options: EndpointOptions
    ) -> Callable[[Endpoint], Endpoint]:
        check_permission(permission, path)
        status_code = options.get("status_code", OK)
        route_options: dict[str, Any] = {"has_location": status_code == CREATED, **options}
        problems = problem_responses(*route_options.pop("errors", ()))
        route_options["responses"] = {**problems, **options.get("responses", {})}
        route_options["status_code"] = status_code

        def declare(endpoint: Endpoint) -> Endpoint:
            route = Route(
                self.prefix + path,
                endpoint,
                methods=[method],
                permission=permission,
                cache_control=self._cache_control,
                tags=list(self._tags),
                **route_options,
            )
            self.routes.append(route)
            return endpoint

        return declare


def add_routers(
    app: FastAPI, routers: Sequence[Router | ForeignRouter | GuardedRoute], *, fast_dispatch: bool
) -> None:
    """Add the endpoints of routers to an application.

    Our own routes are appended as one flat list, because FastAPI would match the routes of an
    included router twice for every request. Foreign routes come last, so that they cannot hide
    ours. Raises `MissingPermission` for anything else, such as a plain APIRouter.
    """
    routes: list[Route] = []
    foreign: list[ForeignRouter | GuardedRoute] = []
    for router in routers:
        if isinstance(router, Router):
            routes += router.routes
        elif isinstance(router, ForeignRouter | GuardedRoute):
            foreign.append(router)
        else:
            raise MissingPermission(router)
    if app.router.dependencies:
        raise RuntimeError("Dependencies of the application would not apply to our own routes.")
    fixed_paths = frozenset(route.path for route in routes if not route.param_convertors)
    for route in routes:
        app.router.routes.append(route.bind(app, fixed_paths, fast_dispatch=fast_dispatch))
    for router in foreign:
        router.add_to(app)
