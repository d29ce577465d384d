"""Routers: nothing is served without a permission, and foreign routers can be added."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Response
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from app import api, main
from app.books.router import BookServiceDependency
from app.core.db import Database
from app.core.http import (
    ForeignRouter,
    GuardedRoute,
    MissingPermission,
    Router,
    add_routers,
    set_etag,
    stream_responses,
)
from app.core.paging import AnyOf, PageQuery
from app.core.schemas import Id, ReadModel, Version
from app.main import create_app
from tests.conftest import make_settings
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.factories import make_book
from tests.support.problems import check_problem
from tests.support.resources import replace_resources

SETTINGS = make_settings("postgresql:///unused", anonymous_access="none")


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def application(monkeypatch: pytest.MonkeyPatch, *routers: Any, **changes: Any) -> FastAPI:
    """The service with more routers in the list of app/api.py."""
    monkeypatch.setattr(main, "ROUTERS", (*api.ROUTERS, *routers))
    return create_app(SETTINGS.model_copy(update=changes))


def plain_router() -> APIRouter:
    router = APIRouter()

    @router.get("/plain/{number}")
    async def read_plain(number: int) -> dict[str, int]:
        """Read a number."""
        return {"number": number}

    return router


# No route without a permission


@pytest.mark.parametrize(
    ("router", "name"),
    [
        (plain_router(), "/plain/{number}"),
        (Mount("/added", PlainTextResponse("open")), "/added"),
        (Starlette(routes=[Route("/page", PlainTextResponse("open"))]), "/page"),
    ],
)
def test_create_app_refuses_a_router_without_a_permission_and_names_its_route(
    monkeypatch: pytest.MonkeyPatch, router: Any, name: str
) -> None:
    message = f"The route {re.escape(name)} has no permission that core.access knows"
    with pytest.raises(MissingPermission, match=message):
        application(monkeypatch, router)


async def test_startup_refuses_a_route_that_was_added_without_a_permission() -> None:
    app = create_app(SETTINGS)
    app.include_router(plain_router())
    with pytest.raises(MissingPermission, match=re.escape("The route /plain/{number} has")):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize(
    "route",
    [Route("/added", PlainTextResponse("open")), Mount("/added", PlainTextResponse("open"))],
)
async def test_startup_names_the_route_without_a_permission(route: Any) -> None:
    app = create_app(SETTINGS)
    app.router.routes.append(route)
    with pytest.raises(MissingPermission, match="The route /added has no permission"):
        async with app.router.lifespan_context(app):
            pass


async def test_startup_refuses_files_that_were_added_without_a_permission(tmp_path: Path) -> None:
    app = create_app(SETTINGS)
    app.frontend("/ui", directory=tmp_path)
    with pytest.raises(MissingPermission, match="The route /ui has no permission"):
        async with app.router.lifespan_context(app):
            pass


def test_create_app_refuses_a_permission_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = ForeignRouter(plain_router(), permission="catalogue:reed")  # type: ignore[arg-type]
    with pytest.raises(MissingPermission, match=re.escape("The route /plain/{number} has")):
        application(monkeypatch, foreign)


async def test_startup_refuses_a_route_that_states_a_permission_but_does_not_check_it() -> None:
    app = create_app(SETTINGS)
    route = Route("/added", PlainTextResponse("open"))
    route.permission = "users:list"  # type: ignore[attr-defined]
    app.router.routes.append(route)
    with pytest.raises(MissingPermission, match="The route /added has no permission"):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize("is_started", [False, True])
async def test_route_without_a_permission_is_not_served_whenever_it_was_added(
    is_started: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(SETTINGS)
    lifespan = app.router.lifespan_context(app) if is_started else nullcontext()
    async with lifespan, client_of(app) as client:
        assert (await client.get("/livez")).status_code == 200
        app.include_router(plain_router())
        check_problem(await client.get("/plain/1"), 500, "internal-error")
    assert "The route /plain/{number} has no permission" in caplog.text


def test_an_endpoint_cannot_be_declared_without_a_permission() -> None:
    with pytest.raises(TypeError, match="permission"):
        Router(tags=["x"]).get("/x")  # type: ignore[call-arg]


@pytest.mark.parametrize("permission", [None, "", "catalog:read"])
def test_an_unknown_permission_is_refused_and_its_route_named(permission: Any) -> None:
    async def endpoint() -> None: ...

    with pytest.raises(MissingPermission, match="The route '/x' has no permission"):
        Router(tags=["x"]).get("/x", permission=permission)(endpoint)
    with pytest.raises(MissingPermission, match="The route /x has no permission"):
        GuardedRoute(Mount("/x", PlainTextResponse("open")), permission)


def test_dependencies_of_the_application_are_refused_because_they_would_not_apply() -> None:
    app = FastAPI(dependencies=[Depends(plain_router)])
    with pytest.raises(RuntimeError, match="would not apply"):
        add_routers(app, [Router(tags=["x"])], fast_dispatch=True)


@pytest.mark.parametrize("parameter_first", [True, False])
async def test_fixed_path_wins_over_a_parameter_whatever_is_declared_first(
    monkeypatch: pytest.MonkeyPatch, parameter_first: bool
) -> None:
    router = Router(tags=["x"])

    async def read_thing(id: ThingId) -> Echo:
        return Echo(tags=[str(id)])

    async def read_own_thing() -> Echo:
        return Echo(tags=["own"])

    endpoints: dict[str, Any] = {"/things/{id}": read_thing, "/things/own": read_own_thing}
    for path in sorted(endpoints, reverse=not parameter_first):
        router.get(path, permission="public")(endpoints[path])
    async with client_of(application(monkeypatch, router)) as client:
        assert (await client.get("/things/own")).json() == {"tags": ["own"]}
        assert (await client.get(f"/things/{CATEGORY}")).json() == {"tags": [CATEGORY]}
        check_problem(await client.delete("/things/own"), 405, "method-not-allowed")


# Foreign routers


@pytest.fixture
def foreign_app(monkeypatch: pytest.MonkeyPatch, database: Database) -> FastAPI:
    foreign = ForeignRouter(plain_router(), permission="catalogue:read", prefix="/foreign")
    mounted = Mount("/admin", Starlette(routes=[Route("/page", PlainTextResponse("page"))]))
    app = application(monkeypatch, foreign, GuardedRoute(mounted, "users:list"))
    replace_resources(app, database=database)
    return app


async def test_foreign_router_requires_its_permission(foreign_app: FastAPI) -> None:
    async with client_of(foreign_app) as client:
        check_problem(await client.get("/foreign/plain/1"), 401, "unauthorized")
        check_problem(await client.get("/foreign/plain/x"), 401, "unauthorized")
        check_problem(await client.get("/admin/page"), 401, "unauthorized")


async def test_foreign_router_responds_normally_to_who_has_the_permission(
    foreign_app: FastAPI, database: Database
) -> None:
    member = await create_user_with_token(database)
    async with client_of(foreign_app) as client:
        response = await client.get("/foreign/plain/1", headers=member.headers)
        assert (response.status_code, response.json()) == (200, {"number": 1})
        check_problem(
            await client.get("/foreign/plain/x", headers=member.headers), 422, "invalid-request"
        )
        check_problem(await client.get("/admin/page", headers=member.headers), 403, "forbidden")
        admin = await create_user_with_token(database, role="admin")
        response = await client.get("/admin/page", headers=admin.headers)
        assert (response.status_code, response.text) == (200, "page")


async def test_foreign_router_appears_in_the_document_with_its_access(foreign_app: FastAPI) -> None:
    async with client_of(foreign_app) as client:
        document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/foreign/plain/{number}"]["get"]
    assert operation["security"] == [{"password": []}]
    assert operation["description"].startswith("Read a number.\n\nRoles: member, editor, admin")
    assert {"401", "422"} <= operation["responses"].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_options_lists_the_methods_of_a_foreign_path(foreign_app: FastAPI) -> None:
    async with client_of(foreign_app) as client:
        response = await client.options("/foreign/plain/1")
        assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        check_problem(await client.delete("/foreign/plain/1"), 405, "method-not-allowed")


async def test_foreign_websocket_is_refused_without_the_permission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = APIRouter()

    @router.websocket("/live")
    async def live(websocket: Any) -> None:
        await websocket.accept()

    app = application(monkeypatch, ForeignRouter(router, permission="catalogue:read"))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/live", "headers": [], "query_string": b""}
    await app({**scope, "subprotocols": [], "scheme": "ws", "root_path": ""}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


# Dependency overrides


async def test_dependency_override_replaces_the_dependency_of_an_endpoint(
    app: FastAPI, client: AsyncClient
) -> None:
    book = await make_book(client)

    class OtherBooks:
        async def get(self, id: Any) -> Any:
            raise RuntimeError(f"overridden for {id}")

    [dependency] = get_args(BookServiceDependency)[1:]
    app.dependency_overrides[dependency.dependency] = OtherBooks
    try:
        assert (await client.get(f"/books/{book['id']}")).status_code == 500
    finally:
        app.dependency_overrides.clear()
    assert (await client.get(f"/books/{book['id']}")).status_code == 200


async def test_dependency_override_concerns_only_its_own_application(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def number() -> int:
        return 1

    router = Router(tags=["numbers"])

    @router.get("/number", permission="public")
    async def read_number(number: Annotated[int, Depends(number)]) -> dict[str, int]:
        return {"number": number}

    overridden, plain = (application(monkeypatch, router) for _ in range(2))
    overridden.dependency_overrides[number] = lambda: 2
    async with client_of(overridden) as client:
        assert (await client.get("/number")).json() == {"number": 2}
    async with client_of(plain) as client:
        assert (await client.get("/number")).json() == {"number": 1}


# Nothing in core enumerates the domain


class Category(ReadModel):
    """A category, whose name does not end in `Read`."""

    id: UUID
    name: str = Field(max_length=100, examples=["Novels"])
    version: Version


class TagQuery(PageQuery):
    """A page of what has one of these tags."""

    tag: AnyOf[str] = ()


class Echo(BaseModel):
    """The tags of the query."""

    tags: list[str] = Field(examples=[["a"]])


ThingId = Annotated[Id, Field(description="Id of the thing")]
CategoryId = Annotated[Id, Field(description="Id of the category")]
CATEGORY = "0199b2f4-c0de-7000-a000-000000000000"


@pytest.fixture
def own_app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    router = Router(tags=["categories"])

    @router.get("/test-categories/{id}", permission="public")
    async def read_category(id: CategoryId, response: Response) -> Category:
        """Read a category."""
        category = Category(id=id, name="Novels", version="3")
        set_etag(response, category)
        return category

    @router.get("/test-tags", permission="public")
    async def echo_tags(query: Annotated[TagQuery, Query()]) -> Echo:
        """List tags."""
        return Echo(tags=list(query.tag))

    return application(monkeypatch, router)


async def test_read_model_of_any_name_has_an_etag(own_app: FastAPI) -> None:
    async with client_of(own_app) as client:
        response = await client.get(f"/test-categories/{CATEGORY}")
        assert response.headers["etag"] == '"3"'
        tags = {"If-None-Match": '"3"'}
        assert (await client.get(f"/test-categories/{CATEGORY}", headers=tags)).status_code == 304
        operation = (await client.get("/openapi.json")).json()["paths"]["/test-categories/{id}"][
            "get"
        ]
    assert "ETag" in operation["responses"]["200"]["headers"]
    assert "304" in operation["responses"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert parameters["id"]["description"] == "Id of the category"
    assert "If-None-Match" in parameters


async def test_repeatable_filter_of_any_name_may_be_repeated(own_app: FastAPI) -> None:
    async with client_of(own_app) as client:
        response = await client.get("/test-tags?tag=a&tag=b&size=3")
        assert response.json() == {"tags": ["a", "b"]}
        check_problem(await client.get("/test-tags?size=1&size=2"), 422, "invalid-request")
        check_problem(await client.get("/test-tags?label=a"), 422, "invalid-request")


# The document of any router can be generated


class Unusual(BaseModel):
    """A model whose fields have the names of keywords of JSON Schema."""

    format: str
    minimum: int
    maximum: float = Field(le=0.5)


class BookRead(BaseModel):
    """A model that has the name of one of ours."""

    pages: int


def unusual_router() -> APIRouter:
    router = APIRouter()
    own_header = {"X-Own": {"schema": {"type": "string"}}}
    responses: dict[int | str, Any] = {401: {"description": "No"}, 500: {"headers": own_header}}

    @router.get("/unusual", responses=responses)
    async def read_unusual() -> Unusual:
        return Unusual(format="a", minimum=1, maximum=0)

    @router.get("/books/{id}")
    async def read_other(id: int) -> BookRead:
        return BookRead(pages=id)

    return router


def test_document_keeps_what_a_foreign_router_declares_and_what_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = create_app(SETTINGS).openapi()
    document = application(
        monkeypatch,
        ForeignRouter(unusual_router(), permission="catalogue:read"),
        ForeignRouter(unusual_router(), permission="catalogue:read", prefix="/foreign"),
    ).openapi()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert paths["/books/{id}"] == ours["paths"]["/books/{id}"]
    assert schemas["BookRead"] == ours["components"]["schemas"]["BookRead"]
    content = paths["/foreign/books/{id}"]["get"]["responses"]["200"]["content"]
    reference = content["application/json"]["schema"]["$ref"]
    assert schemas[reference.rpartition("/")[2]]["properties"].keys() == {"pages"}
    assert schemas["Unusual"]["properties"]["maximum"]["maximum"] == 0.5
    responses = paths["/foreign/unusual"]["get"]["responses"]
    assert responses["401"]["description"] == "No"
    assert responses["500"]["headers"].keys() == {"X-Own", "X-Request-ID"}
    assert "application/problem+json" in responses["500"]["content"]


class Bare(BaseModel):
    """A model without examples."""

    number: int


class AliasQuery(PageQuery):
    """A query with a parameter whose name is a keyword of Python."""

    from_: str = Field("", alias="from")


def test_document_of_own_router_needs_no_examples_and_no_unique_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Router(tags=["bare"])

    @router.get("/bare", permission="public", responses={400: {"description": "Own"}})
    async def read_bare(query: Annotated[AliasQuery, Query()]) -> Bare:
        return Bare(number=len(query.from_))

    @router.get("/anything", permission="public")
    async def read_anything() -> dict[str, int]:
        return {}

    other_router = Router(tags=["bare"])
    other_router.get("/other", permission="public")(read_anything)
    with pytest.warns(UserWarning, match="Duplicate Operation ID"):
        paths = application(monkeypatch, router, other_router).openapi()["paths"]
    parameters = {parameter["name"] for parameter in paths["/bare"]["get"]["parameters"]}
    assert "from" in parameters
    assert {"/anything", "/other"} <= paths.keys()


# Missing documentation


class Undocumented(ReadModel):
    id: UUID
    code: str
    version: Version


async def test_application_without_any_documentation_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Router(tags=["undocumented"])

    @router.get("/undocumented", permission="public", responses=stream_responses(Undocumented))
    async def list_undocumented() -> Undocumented:
        return Undocumented(id=UUID(CATEGORY), code="x", version="1")

    async with client_of(application(monkeypatch, router)) as client:
        assert (await client.get("/undocumented")).json()["code"] == "x"
        document = (await client.get("/openapi.json")).json()
    contents = document["paths"]["/undocumented"]["get"]["responses"]["200"]["content"]
    assert set(contents) == {"application/json", "application/x-ndjson", "text/csv"}
    assert not any("example" in content for content in contents.values())
