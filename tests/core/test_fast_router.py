"""The router of the HTTP fast path finds the routes that FastAPI finds, and responds equally."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Match, Mount, Route
from starlette.types import Receive, Scope, Send

from app.core.errors import NotFound
from app.core.http import FastRouter, GuardedRoute, Router, add_routers, install_error_handlers
from app.core.http._route import Route as OwnRoute
from tests.support.app_clients import open_client

METHODS = ("GET", "POST", "DELETE", "OPTIONS", "HEAD")
PATHS = (
    *("/", "/books", "/books/", "/books/7", "/books/7/", "/books/batch", "/books/7/content"),
    *("/books/7/chapters/8", "/books//content", "/books/a%2Fb", "/books/%0A", "/books%0A"),
    *("/Books", "/files/a/b", "/files/a", "/guarded", "/guarded/7", "/books/7/first", "/missing"),
    *("/books/first", "/books/first%0A", "/latest/a", "/latest/a%0A", "/latest/b"),
    *("/errors/known", "/errors/unknown", "/errors/late", "/prefix/books", "/prefix/books/7"),
)


# The routes, in the order of their declaration.
ROUTES = (
    *(("GET", "/books"), ("GET", "/books/{id}"), ("DELETE", "/books/{id}")),
    *(("POST", "/books/batch"), ("GET", "/books/{id}/content"), ("GET", "/books/{id}/{part}")),
    *(("GET", "/books/{book_id}/chapters/{id}"), ("GET", "/errors/{name}")),
    *(("GET", "/latest/a"), ("GET", "/latest/{name}")),
)


class Result(BaseModel):
    """The response of a route, which tells what it has found in the scope of the request."""

    endpoint: str
    path_params: dict[str, str]
    route: str


async def describe_scope(request: Request) -> Any:
    """Return what the router has stored in the scope, or fail if the path says so."""
    scope = request.scope
    if scope["path"].endswith("/known"):
        raise NotFound
    if scope["path"].endswith("/unknown"):
        raise RuntimeError("unknown")
    if scope["path"].endswith("/late"):
        return StreamingResponse(_fail_after_first_chunk())
    return Result(
        endpoint=scope["endpoint"].__name__,
        path_params=scope["path_params"],
        route=scope["route"].path,
    )


def create_router(prefix: str = "", routes: Sequence[tuple[str, str]] = ROUTES) -> Router:
    """Return a router with several kinds of paths and errors."""
    router = Router(prefix=prefix, tags=["x"])
    for method, path in routes:
        declare = {"GET": router.get, "POST": router.post, "DELETE": router.delete}[method]
        options: Any = {"permission": "public", "response_model": Result, "status_code": 200}
        declare(path, **options)(describe_scope)
    return router


async def _fail_after_first_chunk() -> Any:
    yield "first chunk"
    raise NotFound


async def respond(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"library {request.url.path}")


def create_app(*, http_fast_path: bool) -> FastAPI:
    """Return an application in which routes of a library are between our own."""
    middleware = [Middleware(FastRouter)] if http_fast_path else []
    app = FastAPI(openapi_url=None, middleware=middleware, redirect_slashes=False)
    mount = Mount("/files", routes=[Route("/{name}", respond)])
    guarded_route = GuardedRoute(Route("/guarded/{id}", respond), "public")
    # Our routes with the prefix come after the mount, which matches their paths.
    # `/books/first` matches an earlier route with a parameter. `add_routers` gives precedence to
    # paths without parameters only among the routers of one call.
    routers = (
        *(create_router(), create_router("", [("GET", "/books/first"), ("POST", "/books/first")])),
        *(GuardedRoute(mount, "public"), create_router("/files")),
    )
    for router in (*routers, guarded_route):
        add_routers(app, [router], http_fast_path=http_fast_path)
    install_error_handlers(app)
    return app


async def send(app: Any, method: str, path: str) -> tuple[Any, ...]:
    """Send a request. Return the status, the headers and the body of the response, or the error."""
    async with open_client(app) as client:
        try:
            response = await client.request(method, path)
        except Exception as error:  # noqa: BLE001 - the other application has to raise the same
            return (repr(error),)
    return response.status_code, sorted(response.headers.multi_items()), response.content


async def compare_apps(
    change_app: Callable[[FastAPI], None], routes: Sequence[tuple[str, str]], paths: Sequence[str]
) -> None:
    """Check that applications with and without the fast path respond equally at `paths`.

    They have only `routes`, and are changed by `change_app`.
    """
    apps = []
    for is_fast in (True, False):
        app = create_app(http_fast_path=is_fast)
        app.router.routes.clear()
        add_routers(app, [create_router("", routes)], http_fast_path=is_fast)
        change_app(app)
        apps.append(app)
    for path in paths:
        assert await send(apps[0], "GET", path) == await send(apps[1], "GET", path), path


@pytest.mark.parametrize("method", METHODS)
async def test_fast_router_responds_as_fastapi_does(method: str) -> None:
    fast_app = create_app(http_fast_path=True)
    fastapi_app = create_app(http_fast_path=False)
    for prefix in ("", "/files"):
        for path in PATHS:
            expected = await send(fastapi_app, method, prefix + path)
            assert await send(fast_app, method, prefix + path) == expected, path


async def test_fast_router_responds_as_fastapi_does_behind_a_path_prefix() -> None:
    apps = [create_app(http_fast_path=is_fast) for is_fast in (True, False)]
    fast_app, fastapi_app = [_under_prefix(app) for app in apps]
    for path in PATHS:
        expected = await send(fastapi_app, "GET", path)
        assert await send(fast_app, "GET", path) == expected, path


def _under_prefix(app: FastAPI) -> Any:
    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": "/prefix"}, receive, send)

    return prefixed


async def test_fast_router_finds_a_route_that_is_added_later() -> None:
    app = create_app(http_fast_path=True)
    assert (await send(app, "GET", "/more/books"))[0] == 404
    add_routers(app, [create_router("/more")], http_fast_path=True)
    assert (await send(app, "GET", "/more/books"))[0] == 200


@pytest.mark.parametrize("is_fast", [True, False])
async def test_fast_router_finds_a_route_that_replaces_another(is_fast: bool) -> None:
    app = create_app(http_fast_path=is_fast)
    assert (await send(app, "GET", "/books"))[2] != b"library /books"
    app.router.routes[0] = GuardedRoute(Route("/books", respond), "public")
    assert (await send(app, "GET", "/books"))[2] == b"library /books"


class UpperCaseConvertor(StringConvertor):
    """A type of path parameters that may contain slashes."""

    regex = ".+"

    def convert(self, value: str) -> str:
        return value.upper()


async def test_fast_router_responds_as_fastapi_does_for_a_parameter_of_another_type() -> None:
    register_url_convertor("upper", UpperCaseConvertor())
    routes = [("GET", "/upper/{text:upper}"), ("GET", "/upper/a/{id}")]
    await compare_apps(lambda _app: None, routes, ["/upper/a", "/upper/a/b"])


class RouteOfOneHost(OwnRoute):
    """A route that also depends on the Host header."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if (b"host", b"test") in scope["headers"]:
            return Match.NONE, {}
        return super().matches(scope)


async def test_fast_router_responds_as_fastapi_does_for_a_subclass_of_route() -> None:
    def replace_class(app: FastAPI) -> None:
        app.router.routes[0].__class__ = RouteOfOneHost

    await compare_apps(replace_class, [("GET", "/hosts/a"), ("GET", "/hosts/{name}")], ["/hosts/a"])


async def test_fast_router_responds_as_fastapi_does_in_a_mounted_application() -> None:
    for path in PATHS:
        results = []
        for is_fast in (True, False):
            mount = Mount("/tenants/{tenant}", create_app(http_fast_path=is_fast))
            results.append(await send(Starlette(routes=[mount]), "GET", f"/tenants/a{path}"))
        assert results[0] == results[1], path


async def test_fast_router_ignores_error_handlers_that_are_added_after_the_first_request() -> None:
    async def handle_error(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("late")

    results = []
    for is_fast in (True, False):
        app = create_app(http_fast_path=is_fast)
        await send(app, "GET", "/books")
        app.add_exception_handler(NotFound, handle_error)
        results.append(await send(app, "GET", "/errors/known"))
    assert results[0] == results[1]


async def test_fast_router_refuses_to_let_requests_bypass_another_middleware() -> None:
    app = create_app(http_fast_path=True)
    app.user_middleware.append(Middleware(FastRouter))
    with pytest.raises(TypeError, match="last middleware"):
        app.build_middleware_stack()


async def test_fast_router_stores_in_the_scope_what_fastapi_stores() -> None:
    scopes: list[dict[str, Any]] = []

    class Recorder:
        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(scope, receive, send)
            scopes.append({name: scope[name] for name in ("endpoint", "path_params")})
            scopes[-1] |= {"path": scope["route"].path, "router": type(scope["router"])}

    for is_fast in (True, False):
        app = create_app(http_fast_path=is_fast)
        app.user_middleware.insert(0, Middleware(Recorder))
        await send(app, "GET", "/books/7/content")
    fast_scope, fastapi_scope = scopes
    assert fast_scope == fastapi_scope
