"""The HTTP fast path responds exactly as FastAPI does.

One application is built with the fast path and without it. Both get the same requests, and their
responses have to be equal.
"""

import dataclasses
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, NamedTuple

import pytest
from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Form,
    Header,
    Query,
    Request,
    Response,
)
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, Field

from app.api import ROUTERS
from app.core.http import Router, add_routers, install_error_handlers
from app.core.http import _fast_dispatch as fast_dispatch
from app.core.http import _fast_support as fast_support
from app.core.http._route import Route
from app.core.paging import AnyOf, PageQuery, SortKeys
from app.core.schemas import Id, RequestModel, integer_between
from app.main import create_app
from tests.support.app_clients import open_client
from tests.support.settings import make_settings

ID: Final = "0199b2f4-c0de-7000-a000-000000000000"
router = Router(tags=["x"])
# The dependencies and endpoints that the current request has called, in order.
calls: list[str] = []


class Item(RequestModel):
    """The body of a request."""

    name: str = Field(min_length=2, max_length=10)
    count: int = 1


class Result(BaseModel):
    """The response model of most endpoints: their arguments, as strings."""

    values: dict[str, Any]


class SubResult(Result):
    """A subclass, of which FastAPI serializes only the fields of the response model."""

    hidden: str = "hidden"


class ItemQuery(PageQuery):
    """A query with a repeatable parameter and one that is split at commas."""

    tag: AnyOf[str] = ()
    sort: SortKeys[str] = ()


class AliasResult(BaseModel):
    """A response model with a field that has another name in JSON."""

    class_: str = Field("a", alias="class")


class AliasQuery(PageQuery):
    """A query whose parameters have other names than its fields."""

    from_: str = Field("", alias="from")
    tags: AnyOf[str] = Field((), alias="tag")


def make_result(**values: Any) -> Result:
    """Return a result with the arguments of an endpoint."""
    return Result(values={name: str(value) for name, value in values.items()})


async def first(request: Request) -> str:
    calls.append("first")
    return request.method


async def second(first: Annotated[str, Depends(first)]) -> str:
    calls.append("second")
    return f"{first}, second"


async def uncached(first: Annotated[str, Depends(first, use_cache=False)]) -> str:
    calls.append("uncached")
    return first


class Service:
    """A dependency that is a class, and shares a dependency with another one."""

    def __init__(
        self, first: Annotated[str, Depends(first)], second: Annotated[str, Depends(second)]
    ) -> None:
        calls.append("service")
        self.values = [first, second]


async def with_header(response: Response) -> None:
    response.headers["X-Dependency"] = "set"


async def failing() -> None:
    raise RuntimeError("dependency")


async def with_path(id: Id) -> str:
    return str(id)


def blocking() -> str:
    """A dependency that FastAPI runs in a thread."""
    return "blocking"


async def closing() -> AsyncIterator[str]:
    """A dependency that is a generator."""
    calls.append("opened")
    yield "open"
    calls.append("closed")


# Endpoints that the fast path supports.


@router.get("/plain", permission="public")
async def plain() -> Result:
    return make_result()


@router.get("/path/{id}", permission="public")
async def path(id: Id) -> Result:
    return make_result(id=id)


@router.get("/paths/{id}/{number}", permission="public")
async def paths(id: Id, number: Annotated[int, integer_between(1, 9)]) -> Result:
    return make_result(id=id, number=number)


@router.get("/query", permission="public")
async def query(query: Annotated[ItemQuery, Query()]) -> Result:
    return make_result(query=query)


@router.get("/alias-query", permission="public")
async def alias_query(query: Annotated[AliasQuery, Query()]) -> Result:
    return make_result(query=query)


@router.get("/alias-result", permission="public")
async def alias_result() -> AliasResult:
    return AliasResult()


@router.get("/empty", permission="public")
async def empty(response: Response) -> Result:
    response.status_code = 204
    return make_result()


@router.get("/query/{id}", permission="public")
async def path_and_query(id: Id, query: Annotated[ItemQuery, Query()]) -> Result:
    return make_result(id=id, query=query)


@router.post("/body", permission="public", status_code=201)
async def body(data: Item) -> Result:
    return make_result(data=data)


@router.post("/optional-body", permission="public")
async def optional_body(data: Item | None = None) -> Result:
    return make_result(data=data)


@router.post("/list-body", permission="public")
async def list_body(data: list[Item]) -> Result:
    return make_result(data=data)


@router.patch("/body/{id}", permission="public")
async def path_and_body(id: Id, data: Item, second: Annotated[str, Depends(second)]) -> Result:
    return make_result(id=id, data=data, second=second)


@router.get("/dependencies", permission="public")
async def dependencies(
    service: Annotated[Service, Depends()],
    second: Annotated[str, Depends(second)],
    uncached: Annotated[str, Depends(uncached)],
) -> Result:
    return make_result(service=service.values, second=second, uncached=uncached, calls=list(calls))


@router.get("/nameless", permission="public", dependencies=[Depends(with_header), Depends(first)])
async def nameless() -> Result:
    return make_result(calls=list(calls))


@router.get("/response", permission="public")
async def response(response: Response, _: Annotated[None, Depends(with_header)]) -> Result:
    response.headers["X-Endpoint"] = "set"
    response.set_cookie("name", "value")
    response.status_code = 203
    return make_result()


@router.get("/own-response", permission="public", response_model=Result)
async def own_response(response: Response) -> Response:
    response.headers["X-Endpoint"] = "ignored"
    return Response("own", 202, {"X-Own": "set"}, "text/plain")


@router.delete("/nothing", permission="public")
async def nothing(_: Annotated[None, Depends(with_header)]) -> None:
    calls.append("nothing")


@router.get("/subclass", permission="public")
async def subclass() -> Result:
    return SubResult(values={"a": 1})


@router.get("/dictionary", permission="public", response_model=Result)
async def dictionary() -> dict[str, Any]:
    return {"values": {"b": 2}, "more": "dropped"}


@router.get("/list", permission="public")
async def several() -> list[Result]:
    return [make_result(a=1), make_result(b=2)]


@router.get("/wrong", permission="public", response_model=Result)
async def wrong() -> dict[str, Any]:
    return {"no": "values"}


@router.get("/failing/{id}", permission="public")
async def failing_dependency(id: Id, _: Annotated[None, Depends(failing)]) -> Result:
    return make_result(id=id)


@router.get("/failing-endpoint", permission="public")
async def failing_endpoint() -> Result:
    raise RuntimeError("endpoint")


# Endpoints that the fast path leaves to FastAPI.


@router.get("/scalar-query", permission="public")
async def scalar_query(number: int, word: str = "x") -> Result:
    return make_result(number=number, word=word)


@router.get("/header", permission="public")
async def header(
    user_agent: Annotated[str, Header()], cookie: Annotated[str | None, Cookie()] = None
) -> Result:
    return make_result(user_agent=user_agent, cookie=cookie)


@router.post("/form", permission="public")
async def form(data: Annotated[Item, Form()]) -> Result:
    return make_result(data=data)


@router.post("/two-bodies", permission="public")
async def two_bodies(one: Item, two: Item) -> Result:
    return make_result(one=one, two=two)


@router.get("/dependency-path/{id}", permission="public")
async def dependency_path(id: Annotated[str, Depends(with_path)]) -> Result:
    return make_result(id=id)


@router.get("/blocking", permission="public")
async def blocking_dependency(value: Annotated[str, Depends(blocking)]) -> Result:
    return make_result(value=value)


@router.get("/blocking-endpoint", permission="public")
def blocking_endpoint() -> Result:
    return make_result()


@router.get("/generator", permission="public")
async def generator(value: Annotated[str, Depends(closing)]) -> Result:
    return make_result(value=value)


@router.get("/generator-in-function", permission="public")
async def generator_in_function(
    value: Annotated[str, Depends(closing, scope="function")],
) -> Result:
    return make_result(value=value)


@router.get("/background", permission="public")
async def background(tasks: BackgroundTasks) -> Result:
    tasks.add_task(calls.append, "background")
    return make_result()


# The names of these endpoints.
LEFT_TO_FASTAPI: Final = {
    *("scalar_query", "header", "form", "two_bodies", "dependency_path", "blocking_dependency"),
    *("blocking_endpoint", "generator", "generator_in_function", "background"),
}
BODIES: Final = [
    *(b'{"name": "ab"}', b'{"name": "ab", "count": 2}', b'{"name": "a"}', b"{}", b"null", b"[]"),
    *(b'{"name": "ab", "more": 1}', b'{"name": "ab", "count": "x"}', b'"text"', b"1", b"", b"{"),
    *(b'[{"name": "ab"}]', b'[{"name": "a"}, {}]', b'{"name": "\xff"}', b'{"name":"a","name":"b"}'),
    *(b'{"one": {"name": "ab"}, "two": {"name": "cd"}}', b'{"one": {"name": "ab"}}'),
]
FORMS: Final[list[dict[str, str]]] = [
    {"name": "ab"},
    {"name": "a"},
    {"name": "ab", "more": "1"},
    {},
]
QUERIES: Final = [
    *("", "page=2", "size=5&page=1", "page=x", "page=0", "page=1&page=2", "tag=a", "tag=a&tag=b"),
    *("sort=a,-b", "sort=a&sort=b", "sort=a,a", "unknown=1", "size=101&page=x", "number=1"),
    *("number=x", "number=1&word=y", "tag=%00", "count=exact", "count=no", "cursor=", "sort="),
    *("from=a", "from_=a", "from=a&from=b"),
]
# The values of each path parameter.
PATH_PARAMETERS: Final = {"{id}": [ID, ID.upper(), "x", "1"], "{number}": ["1", "0", "01", "x"]}


class EndpointRequest(NamedTuple):
    """A request to one of the endpoints above."""

    method: str
    url: str
    # The arguments of `httpx.AsyncClient.request` that send a body.
    body_options: dict[str, Any]


def all_requests() -> list[EndpointRequest]:
    """Return the requests with every combination of an endpoint, a path, and a query or body."""
    requests: list[EndpointRequest] = []
    for route in router.routes:
        [method] = route.methods or set[str]()
        paths = [route.path]
        for parameter, values in PATH_PARAMETERS.items():
            paths = [path.replace(parameter, value) for path in paths for value in values]
        for path in dict.fromkeys(paths):
            requests.append(EndpointRequest(method, path, {}))
            if "query" in route.path:
                requests += [EndpointRequest(method, f"{path}?{query}", {}) for query in QUERIES]
            # "body" and "bodies"
            if "bod" in route.path:
                headers = {"Content-Type": "application/json"}
                requests += [
                    EndpointRequest(method, path, {"content": body, "headers": headers})
                    for body in BODIES
                ]
            if "form" in route.path:
                requests += [EndpointRequest(method, path, {"data": form}) for form in FORMS]
    return requests


def create_test_app(*, http_fast_path: bool) -> FastAPI:
    app = FastAPI(openapi_url=None)
    add_routers(app, [router], http_fast_path=http_fast_path)
    install_error_handlers(app)
    return app


async def send(app: FastAPI, request: EndpointRequest) -> tuple[Any, ...]:
    """Send a request. Return the status, headers and body of the response, and the calls."""
    calls.clear()
    async with open_client(app) as client:
        response = await client.request(request.method, request.url, **request.body_options)
    headers = sorted(response.headers.multi_items())
    return response.status_code, headers, response.content, [*calls]


@pytest.mark.parametrize("has_override", [False, True])
async def test_fast_path_has_the_responses_and_calls_of_fastapi(has_override: bool) -> None:
    fast_app = create_test_app(http_fast_path=True)
    fastapi_app = create_test_app(http_fast_path=False)
    if has_override:
        for app in (fast_app, fastapi_app):
            app.dependency_overrides[first] = lambda: "other"
    for request in all_requests():
        expected = await send(fastapi_app, request)
        assert await send(fast_app, request) == expected, request


def test_fast_handler_is_built_only_for_supported_endpoints() -> None:
    supported = {
        route.name for route in router.routes if fast_dispatch.build_fast_handler(route) is not None
    }
    assert supported == {route.name for route in router.routes} - LEFT_TO_FASTAPI


def test_fast_path_supports_all_json_endpoints_of_the_service_except_one_with_a_form() -> None:
    # Streams and redirects declare a class of responses. Others respond with JSON.
    json_routes = [
        route
        for service_router in ROUTERS
        if isinstance(service_router, Router)
        for route in service_router.routes
        if isinstance(route.response_class, DefaultPlaceholder)
    ]
    unsupported = {
        route.name for route in json_routes if fast_dispatch.build_fast_handler(route) is None
    }
    assert unsupported == {"create_token"}


def test_unknown_field_of_dependant_switches_fast_path_off_with_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    newer_dependant = dataclasses.make_dataclass(
        "NewerDependant", [("new_field", str, "")], bases=(Dependant,)
    )
    monkeypatch.setattr(fast_support, "Dependant", newer_dependant)
    assert fast_dispatch.build_fast_handler(router.routes[0]) is None
    assert "HTTP_FAST_PATH has no effect" in caplog.text


def test_setting_http_fast_path_false_uses_fastapi_dispatch() -> None:
    app = create_app(make_settings("postgresql:///unused", http_fast_path=False))
    [route] = [route for route in app.routes if getattr(route, "name", "") == "read_book"]
    assert isinstance(route, Route)
    assert "request_response" in route.app.__qualname__
