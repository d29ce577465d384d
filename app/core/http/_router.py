"""Router, which declares the endpoints of a package. Every endpoint states its permission.

router = Router(prefix="/books", tags=["books"])

@router.get("/{id}", permission="catalog:read")
async def read_book(id: BookId, books: Books, response: Response) -> BookRead: ...
"""

from collections.abc import Callable, Sequence
from http.client import CREATED, NO_CONTENT, OK
from typing import Any, Final, TypedDict, TypeVar, Unpack

from fastapi import FastAPI, Response, params

from app.core.access import Permission
from app.core.errors import ServiceError
from app.core.http._guard import (
    GuardedRoute,
    GuardedRouter,
    MissingPermission,
    require_known_permission,
)
from app.core.http._openapi_problems import openapi_problem_responses
from app.core.http._route import Route
from app.core.token_scopes import TokenScope, get_token_scope

# Values of Cache-Control. A browser may store the response, but has to ask before it uses it.
REVALIDATE: Final = "private, no-cache"
NO_STORE: Final = "no-store"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class EndpointOptions(TypedDict, total=False):
    """Optional arguments of the decorators that declare an endpoint, such as `@router.get(...)`."""

    # The status code of a successful response. The default is 200, or 204 for DELETE.
    status_code: int
    # The errors to document in OpenAPI. Errors that follow from the method, the path, the body and
    # the permission are documented automatically, for example 404 for a path with an id.
    errors: Sequence[type[ServiceError]]
    # True documents a Location header in OpenAPI. The default is True if the status code is 201.
    has_location: bool
    # The scope that a token needs, if there is a token. The default follows from the method: `read`
    # for GET, and `write` for others. None accepts every token.
    token_scope: TokenScope | None
    # The maximum size of the body in bytes. The default is `MAX_BODY_SIZE`.
    max_body_size: int
    # FastAPI defines the meaning of the following options.
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
            endpoint sets its own.
    """

    def __init__(
        self, *, prefix: str = "", tags: list[str], cache_control: str = REVALIDATE
    ) -> None:
        self.routes: list[Route] = []
        self.prefix = prefix
        self._tags = tags
        self._cache_control = cache_control

    def get(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that reads something."""
        return self._build_decorator("GET", path, permission, options)

    def post(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that creates a resource or performs an action.

        It accepts an Idempotency-Key unless its permission is "public".
        """
        return self._build_decorator("POST", path, permission, options)

    def patch(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that updates a resource by a JSON merge patch (RFC 7396)."""
        return self._build_decorator("PATCH", path, permission, options)

    def delete(
        self, path: str, *, permission: Permission, **options: Unpack[EndpointOptions]
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint that deletes a resource. Its response has no content."""
        options.setdefault("status_code", NO_CONTENT)
        return self._build_decorator("DELETE", path, permission, options)

    def _build_decorator(
        self, method: str, path: str, permission: Permission, options: EndpointOptions
    ) -> Callable[[Endpoint], Endpoint]:
        """Return a decorator that adds the decorated endpoint to this router.

        Raises `MissingPermission` if core/access.py does not define the permission.
        """
        require_known_permission(permission, path)
        route_options: dict[str, Any] = dict(options)
        status_code = route_options.setdefault("status_code", OK)
        route_options.setdefault("has_location", status_code == CREATED)
        route_options.setdefault("token_scope", get_token_scope(method))
        error_responses = openapi_problem_responses(*route_options.pop("errors", ()))
        # A response that the endpoint documents by itself replaces the generated one.
        route_options["responses"] = {**error_responses, **options.get("responses", {})}

        def add_route(endpoint: Endpoint) -> Endpoint:
            """Add the route of an endpoint to this router, and return the endpoint unchanged."""
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
    app: FastAPI, routers: Sequence[Router | GuardedRouter | GuardedRoute], *, http_fast_path: bool
) -> None:
    """Add the endpoints of all routers to an application.

    Raises `MissingPermission` for a router that does not require a permission, such as an
    APIRouter of FastAPI.

    Args:
        app: The application.
        routers: Our own routers, and routers and routes of libraries (`GuardedRouter`).
        http_fast_path: The setting HTTP_FAST_PATH. True uses the fast path, which calls the
            endpoints of our own routers directly instead of through FastAPI, where it can.
    """
    own_routes: list[Route] = []
    guarded_routers: list[GuardedRouter | GuardedRoute] = []
    for router in routers:
        if isinstance(router, Router):
            own_routes += router.routes
        elif isinstance(router, GuardedRouter | GuardedRoute):
            guarded_routers.append(router)
        else:
            raise MissingPermission(router)
    _add_own_routes(app, own_routes, http_fast_path=http_fast_path)
    # Routes of libraries come last, so that they cannot hide our own.
    for guarded_router in guarded_routers:
        guarded_router.add_to(app)


def _add_own_routes(app: FastAPI, routes: list[Route], *, http_fast_path: bool) -> None:
    """Add a copy of each route that a `Router` declares to an application.

    Raises `RuntimeError` if the application has dependencies, because our routes do not call them.
    """
    if app.router.dependencies:
        raise RuntimeError("Dependencies of the application would not apply to our own routes.")
    literal_paths = frozenset(route.path for route in routes if not route.param_convertors)
    # `app.include_router` is not used, because FastAPI matches included routes twice per request.
    for route in routes:
        app_route = route.copy_for_app(app, literal_paths, http_fast_path=http_fast_path)
        app.router.routes.append(app_route)
