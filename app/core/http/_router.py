"""Router, which declares the endpoints of a package. Every endpoint states its permission.

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
from app.core.http._guard import (
    ForeignRouter,
    GuardedRoute,
    MissingPermission,
    require_known_permission,
)
from app.core.http._problems import openapi_problem_responses as problem_responses
from app.core.http._route import Route

# Values of Cache-Control. A browser may store the response, but has to ask before it uses it.
REVALIDATE: Final = "private, no-cache"
NO_STORE: Final = "no-store"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class EndpointOptions(TypedDict, total=False):
    """The optional arguments of `Router.get`, `post`, `patch` and `delete`."""

    # The status of a successful response. The default is 200, or 204 for DELETE.
    status_code: int
    # The errors to document in OpenAPI. Those that follow from the method, the parameters and the
    # permission, such as 404 for a path with an id, are added without being listed.
    errors: Sequence[type[ServiceError]]
    # True documents a Location header in OpenAPI. This is the default if the status is 201.
    has_location: bool
    # The following options have the same meaning as in FastAPI.
    response_model: Any
    response_class: type[Response]
    responses: dict[int | str, dict[str, Any]]
    dependencies: Sequence[params.Depends]
    openapi_extra: dict[str, Any]


class Router:
    """Declares the endpoints of one package. `add_routers` adds them to the application.

    Args:
        prefix: The beginning of every path, for example `/books`.
        tags: The groups of the OpenAPI document to which the endpoints belong.
        cache_control: The Cache-Control header of every response that has content, unless an
            endpoint sets its own. None omits the header.
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
        """Declare an endpoint that reads and changes nothing."""
        return self._declare("GET", path, permission, options)

    def post(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that creates a resource or performs an action.

        It accepts an Idempotency-Key unless its permission is "public".
        """
        return self._declare("POST", path, permission, options)

    def patch(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that updates a resource by a JSON merge patch (RFC 7396)."""
        return self._declare("PATCH", path, permission, options)

    def delete(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that deletes a resource. Its response has no content."""
        options.setdefault("status_code", NO_CONTENT)
        return self._declare("DELETE", path, permission, options)

    def _declare(
        self, method: str, path: str, permission: Permission, options: EndpointOptions
    ) -> Callable[[Endpoint], Endpoint]:
        """Return the decorator that creates the route of an endpoint.

        Raises `MissingPermission` if the permission does not exist.
        """
        require_known_permission(permission, path)
        status_code = options.get("status_code", OK)
        route_options: dict[str, Any] = {"has_location": status_code == CREATED, **options}
        problems = problem_responses(*route_options.pop("errors", ()))
        route_options["responses"] = {**problems, **options.get("responses", {})}
        route_options["status_code"] = status_code

        def add_route(endpoint: Endpoint) -> Endpoint:
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

        return add_route


def add_routers(
    app: FastAPI, routers: Sequence[Router | ForeignRouter | GuardedRoute], *, http_fast_path: bool
) -> None:
    """Add the endpoints of routers to an application.

    Raises `MissingPermission` for a router that states no permission, such as a plain APIRouter.

    Args:
        app: The application.
        routers: Our own routers, and foreign routers and routes behind a permission.
        http_fast_path: True calls endpoints of our own routers by the fast path if it supports
            them.
    """
    own_routes: list[Route] = []
    foreign_routers: list[ForeignRouter | GuardedRoute] = []
    for router in routers:
        if isinstance(router, Router):
            own_routes += router.routes
        elif isinstance(router, ForeignRouter | GuardedRoute):
            foreign_routers.append(router)
        else:
            raise MissingPermission(router)
    if app.router.dependencies:
        raise RuntimeError("Dependencies of the application would not apply to our own routes.")
    fixed_paths = frozenset(route.path for route in own_routes if not route.param_convertors)
    # The routes are appended one by one. FastAPI would match those of an included router twice for
    # every request.
    for route in own_routes:
        app_route = route.copy_for_app(app, fixed_paths, http_fast_path=http_fast_path)
        app.router.routes.append(app_route)
    # Foreign routes come last, so that they cannot hide our own.
    for foreign_router in foreign_routers:
        foreign_router.add_to(app)
