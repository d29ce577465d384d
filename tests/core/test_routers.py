"""Routers: every route needs a permission, and routers of libraries can be added."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Response
from httpx import AsyncClient
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from app import api
from app.books.router import BookServiceDependency
from app.books.service import BookService
from app.core.db import Database
from app.core.http import (
    GuardedRoute,
    GuardedRouter,
    MissingPermission,
    Router,
    StreamEndpoints,
    add_routers,
    set_etag,
)
from app.core.paging import AnyOf, PageQuery
from app.core.schemas import Id, ReadModel, Version
from app.main import create_app
from checks.references import inline_components
from tests.support.app_clients import open_client
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.factories import make_book
from tests.support.problems import check_problem
from tests.support.resources import replace_resources
from tests.support.rows import execute
from tests.support.settings import make_settings

SETTINGS = make_settings("postgresql:///unused", anonymous_access="none")


def create_app_with(monkeypatch: pytest.MonkeyPatch, *routers: Any) -> FastAPI:
    """Create the service with more routers in the list of app/api.py."""
    monkeypatch.setattr(api, "ROUTERS", (*api.ROUTERS, *routers))
    return create_app(SETTINGS)


def api_router() -> APIRouter:
    """Return a router of FastAPI, which states no permission."""
    router = APIRouter()

    @router.get("/plain/{number}")
    async def read_plain(number: int) -> dict[str, int]:
        """Read a number."""
        return {"number": number}

    return router


# Every route needs a permission.


@pytest.mark.parametrize(
    ("router", "path"),
    [
        (api_router(), "/plain/{number}"),
        (Mount("/added", PlainTextResponse("open")), "/added"),
        (Starlette(routes=[Route("/page", PlainTextResponse("open"))]), "/page"),
    ],
)
def test_create_app_refuses_router_without_permission_and_names_its_route(
    monkeypatch: pytest.MonkeyPatch, router: Any, path: str
) -> None:
    message = f"The route {re.escape(path)} has no permission that core.access defines"
    with pytest.raises(MissingPermission, match=message):
        create_app_with(monkeypatch, router)


async def test_startup_refuses_api_router_that_was_added_after_create_app() -> None:
    app = create_app(SETTINGS)
    app.include_router(api_router())
    with pytest.raises(MissingPermission, match=re.escape("The route /plain/{number} has")):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize(
    "route",
    [Route("/added", PlainTextResponse("open")), Mount("/added", PlainTextResponse("open"))],
)
async def test_startup_refuses_route_that_was_added_after_create_app(route: Any) -> None:
    app = create_app(SETTINGS)
    app.router.routes.append(route)
    with pytest.raises(MissingPermission, match="The route /added has no permission"):
        async with app.router.lifespan_context(app):
            pass


async def test_startup_refuses_static_files_that_were_added_after_create_app(
    tmp_path: Path,
) -> None:
    app = create_app(SETTINGS)
    app.frontend("/ui", directory=tmp_path)
    with pytest.raises(MissingPermission, match="The route /ui has no permission"):
        async with app.router.lifespan_context(app):
            pass


def test_create_app_refuses_guarded_router_with_unknown_permission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guarded_router = GuardedRouter(api_router(), permission="catalog:reed")  # type: ignore[arg-type]
    with pytest.raises(MissingPermission, match=re.escape("The route /plain/{number} has")):
        create_app_with(monkeypatch, guarded_router)


async def test_startup_refuses_library_route_that_only_has_a_permission_attribute() -> None:
    app = create_app(SETTINGS)
    route = Route("/added", PlainTextResponse("open"))
    route.permission = "users:list"  # type: ignore[attr-defined]
    app.router.routes.append(route)
    with pytest.raises(MissingPermission, match="The route /added has no permission"):
        async with app.router.lifespan_context(app):
            pass


@pytest.mark.parametrize("is_started", [False, True])
async def test_requests_fail_with_500_after_route_without_permission_was_added(
    is_started: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(SETTINGS)
    lifespan = app.router.lifespan_context(app) if is_started else nullcontext()
    async with lifespan, open_client(app) as client:
        assert (await client.get("/livez")).status_code == 200
        app.include_router(api_router())
        check_problem(await client.get("/plain/1"), 500, "internal-error")
    assert "The route /plain/{number} has no permission" in caplog.text


async def test_requests_fail_with_500_after_route_without_permission_replaced_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = create_app(SETTINGS)
    async with open_client(app) as client:
        assert (await client.get("/livez")).status_code == 200
        app.router.routes[-1] = Route("/plain", PlainTextResponse("open"))
        check_problem(await client.get("/plain"), 500, "internal-error")
    assert "The route /plain has no permission" in caplog.text


def test_endpoint_declared_without_permission_raises_type_error() -> None:
    with pytest.raises(TypeError, match="permission"):
        Router(tags=["x"]).get("/x")  # type: ignore[call-arg]


@pytest.mark.parametrize("permission", [None, "", "catalog:unknown"])
def test_endpoint_or_guarded_route_with_unknown_permission_is_refused(permission: Any) -> None:
    async def endpoint() -> None: ...

    with pytest.raises(MissingPermission, match="The route '/x' has no permission"):
        Router(tags=["x"]).get("/x", permission=permission)(endpoint)
    with pytest.raises(MissingPermission, match="The route /x has no permission"):
        GuardedRoute(Mount("/x", PlainTextResponse("open")), permission)


def test_application_with_dependencies_of_its_own_is_refused() -> None:
    app = FastAPI(dependencies=[Depends(api_router)])
    with pytest.raises(RuntimeError, match="would not apply"):
        add_routers(app, [Router(tags=["x"])], http_fast_path=True)


@pytest.mark.parametrize("parameter_first", [True, False])
async def test_fixed_path_takes_precedence_over_path_parameter_in_any_order(
    monkeypatch: pytest.MonkeyPatch, parameter_first: bool
) -> None:
    router = Router(tags=["x"])

    async def read_thing(id: ThingId) -> TagList:
        return TagList(tags=[str(id)])

    async def read_own_thing() -> TagList:
        return TagList(tags=["own"])

    endpoints: dict[str, Any] = {"/things/{id}": read_thing, "/things/own": read_own_thing}
    for path in sorted(endpoints, reverse=not parameter_first):
        router.get(path, permission="public")(endpoints[path])
    async with open_client(create_app_with(monkeypatch, router)) as client:
        assert (await client.get("/things/own")).json() == {"tags": ["own"]}
        assert (await client.get(f"/things/{CATEGORY_ID}")).json() == {"tags": [CATEGORY_ID]}
        check_problem(await client.delete("/things/own"), 405, "method-not-allowed")


# Routers of libraries.


@pytest.fixture
def guarded_app(monkeypatch: pytest.MonkeyPatch, database: Database) -> FastAPI:
    guarded_router = GuardedRouter(api_router(), permission="catalog:read", prefix="/foreign")
    mounted = Mount("/admin", Starlette(routes=[Route("/page", PlainTextResponse("page"))]))
    app = create_app_with(monkeypatch, guarded_router, GuardedRoute(mounted, "users:list"))
    replace_resources(app, database=database)
    return app


@pytest.mark.parametrize("headers", [[(b"x-test", b"1")], ((b"x-test", b"1"),), None])
async def test_mounted_application_may_send_the_same_headers_twice_or_none(
    monkeypatch: pytest.MonkeyPatch, headers: Any
) -> None:
    start = {"type": "http.response.start", "status": 200}

    async def mounted(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({**start, "headers": headers} if headers else {**start})
        await send({"type": "http.response.body", "body": b"ok"})

    app = create_app_with(monkeypatch, GuardedRoute(Mount("/mounted", mounted), "public"))
    async with open_client(app) as client:
        for _ in range(2):
            response = await client.get("/mounted/page")
            assert response.text == "ok"
            assert len(response.headers.get_list("x-request-id")) == 1


async def test_guarded_router_requires_its_permission(guarded_app: FastAPI) -> None:
    async with open_client(guarded_app) as client:
        check_problem(await client.get("/foreign/plain/1"), 401, "unauthorized")
        check_problem(await client.get("/foreign/plain/x"), 401, "unauthorized")
        check_problem(await client.get("/admin/page"), 401, "unauthorized")


async def test_guarded_router_does_not_read_the_body_of_a_caller_without_the_permission(
    guarded_app: FastAPI,
) -> None:
    chunks_read = []

    async def body() -> AsyncIterator[bytes]:
        chunks_read.append(b"x")
        yield b"x"

    async with open_client(guarded_app) as client:
        response = await client.post("/admin/page", content=body())
    check_problem(response, 401, "unauthorized")
    assert chunks_read == []


async def test_guarded_router_handles_requests_of_callers_with_the_permission(
    guarded_app: FastAPI, database: Database
) -> None:
    member = await create_user_with_token(database)
    async with open_client(guarded_app) as client:
        response = await client.get("/foreign/plain/1", headers=member.headers)
        assert (response.status_code, response.json()) == (200, {"number": 1})
        check_problem(
            await client.get("/foreign/plain/x", headers=member.headers), 422, "invalid-request"
        )
        check_problem(await client.get("/admin/page", headers=member.headers), 403, "forbidden")
        admin = await create_user_with_token(database, role="admin")
        response = await client.get("/admin/page", headers=admin.headers)
        assert (response.status_code, response.text) == (200, "page")


async def test_guarded_router_requires_the_token_scope_of_the_method(
    guarded_app: FastAPI, database: Database
) -> None:
    admin = await create_user_with_token(database, role="admin")
    await execute(database, "UPDATE tokens SET scope = 'write'")
    async with open_client(guarded_app) as client:
        for path in ("/foreign/plain/1", "/admin/page"):
            response = await client.get(path, headers=admin.headers)
            check_problem(response, 403, "forbidden")
            assert response.headers["www-authenticate"].endswith('scope="read"')


async def test_guarded_router_is_documented_with_roles_and_problems(guarded_app: FastAPI) -> None:
    async with open_client(guarded_app) as client:
        document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/foreign/plain/{number}"]["get"]
    assert operation["security"] == [{"password": ["read"]}]
    assert operation["description"].startswith("Read a number.\n\nRoles: member, editor, admin")
    assert {"401", "422"} <= operation["responses"].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_options_request_lists_methods_of_guarded_route(guarded_app: FastAPI) -> None:
    async with open_client(guarded_app) as client:
        response = await client.options("/foreign/plain/1")
        assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
        check_problem(await client.delete("/foreign/plain/1"), 405, "method-not-allowed")


async def test_guarded_websocket_is_closed_without_the_permission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = APIRouter()

    @router.websocket("/live")
    async def live(websocket: Any) -> None:
        await websocket.accept()

    app = create_app_with(monkeypatch, GuardedRouter(router, permission="catalog:read"))
    sent_messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent_messages.append(message)

    scope = {"type": "websocket", "path": "/live", "headers": [], "query_string": b""}
    await app({**scope, "subprotocols": [], "scheme": "ws", "root_path": ""}, receive, send)
    assert [message["type"] for message in sent_messages] == ["websocket.close"]


# Overridden dependencies.


async def test_dependency_override_replaces_the_dependency_of_an_endpoint(
    app: FastAPI, client: AsyncClient
) -> None:
    book = await make_book(client)

    class FailingBookService:
        async def get(self, id: Any) -> Any:
            raise RuntimeError(f"overridden for {id}")

    [dependency] = get_args(BookServiceDependency)[1:]
    app.dependency_overrides[dependency.dependency] = FailingBookService
    try:
        assert (await client.get(f"/books/{book['id']}")).status_code == 500
    finally:
        app.dependency_overrides.clear()
    assert (await client.get(f"/books/{book['id']}")).status_code == 200


async def test_dependency_override_does_not_affect_other_applications(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def number() -> int:
        return 1

    router = Router(tags=["numbers"])

    @router.get("/number", permission="public")
    async def read_number(number: Annotated[int, Depends(number)]) -> dict[str, int]:
        return {"number": number}

    app_with_override = create_app_with(monkeypatch, router)
    other_app = create_app_with(monkeypatch, router)
    app_with_override.dependency_overrides[number] = lambda: 2
    async with open_client(app_with_override) as client:
        assert (await client.get("/number")).json() == {"number": 2}
    async with open_client(other_app) as client:
        assert (await client.get("/number")).json() == {"number": 1}


# `core` knows no entity of the service, so that models of any name work.


class Category(ReadModel):
    """A read model whose name does not end in `Read`."""

    id: UUID
    name: str = Field(max_length=100, examples=["Novels"])
    version: Version


class TagQuery(PageQuery):
    """A query with a filter that may be repeated."""

    tag: AnyOf[str] = ()


class TagList(BaseModel):
    """The tags of a query."""

    tags: list[str] = Field(examples=[["a"]])


ThingId = Annotated[Id, Field(description="Id of the thing")]
CategoryId = Annotated[Id, Field(description="Id of the category")]
CATEGORY_ID = "0199b2f4-c0de-7000-a000-000000000000"


@pytest.fixture
def app_with_own_models(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    router = Router(tags=["categories"])

    @router.get("/test-categories/{id}", permission="public")
    async def read_category(id: CategoryId, response: Response) -> Category:
        """Read a category."""
        category = Category(id=id, name="Novels", version="3")
        set_etag(response, category)
        return category

    @router.get("/test-tags", permission="public")
    async def echo_tags(query: Annotated[TagQuery, Query()]) -> TagList:
        """List tags."""
        return TagList(tags=list(query.tag))

    return create_app_with(monkeypatch, router)


async def test_read_model_of_any_name_has_etag_and_304_response(
    app_with_own_models: FastAPI,
) -> None:
    async with open_client(app_with_own_models) as client:
        response = await client.get(f"/test-categories/{CATEGORY_ID}")
        assert response.headers["etag"] == '"3"'
        headers = {"If-None-Match": '"3"'}
        assert (
            await client.get(f"/test-categories/{CATEGORY_ID}", headers=headers)
        ).status_code == 304
        document = inline_components((await client.get("/openapi.json")).json())
    operation = document["paths"]["/test-categories/{id}"]["get"]
    assert "ETag" in operation["responses"]["200"]["headers"]
    assert "304" in operation["responses"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert parameters["id"]["description"] == "Id of the category"
    assert "If-None-Match" in parameters


async def test_filter_of_any_name_may_be_repeated_if_it_is_repeatable(
    app_with_own_models: FastAPI,
) -> None:
    async with open_client(app_with_own_models) as client:
        response = await client.get("/test-tags?tag=a&tag=b&size=3")
        assert response.json() == {"tags": ["a", "b"]}
        check_problem(await client.get("/test-tags?size=1&size=2"), 422, "invalid-request")
        check_problem(await client.get("/test-tags?label=a"), 422, "invalid-request")


# The OpenAPI document can be generated for any router.


class KeywordFields(BaseModel):
    """A model whose fields have the names of JSON Schema keywords."""

    format: str
    minimum: int
    maximum: float = Field(le=0.5)


class BookRead(BaseModel):
    """A model that has the name of a model of this service."""

    pages: int


def conflicting_router() -> APIRouter:
    """Return a router with paths, schemas and responses that the service has already."""
    router = APIRouter()
    own_header = {"X-Own": {"schema": {"type": "string"}}}
    responses: dict[int | str, Any] = {401: {"description": "No"}, 500: {"headers": own_header}}

    @router.get("/keyword-fields", responses=responses)
    async def read_keyword_fields() -> KeywordFields:
        return KeywordFields(format="a", minimum=1, maximum=0)

    @router.get("/books/{id}")
    async def read_foreign_book(id: int) -> BookRead:
        return BookRead(pages=id)

    return router


def test_document_contains_operations_of_service_and_of_conflicting_router(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_document = inline_components(create_app(SETTINGS).openapi())
    app = create_app_with(
        monkeypatch,
        GuardedRouter(conflicting_router(), permission="catalog:read"),
        GuardedRouter(conflicting_router(), permission="catalog:read", prefix="/foreign"),
    )
    document = inline_components(app.openapi())
    paths = document["paths"]
    schemas = document["components"]["schemas"]
    assert paths["/books/{id}"] == own_document["paths"]["/books/{id}"]
    assert schemas["BookRead"] == own_document["components"]["schemas"]["BookRead"]
    content = paths["/foreign/books/{id}"]["get"]["responses"]["200"]["content"]
    reference = content["application/json"]["schema"]["$ref"]
    assert schemas[reference.rpartition("/")[2]]["properties"].keys() == {"pages"}
    assert schemas["KeywordFields"]["properties"]["maximum"]["maximum"] == 0.5
    responses = paths["/foreign/keyword-fields"]["get"]["responses"]
    assert responses["401"]["description"] == "No"
    assert responses["500"]["headers"].keys() == {"X-Own", "X-Request-ID"}
    assert "application/problem+json" in responses["500"]["content"]


class WithoutExamples(BaseModel):
    """A model without examples."""

    number: int


class AliasQuery(PageQuery):
    """A query with a parameter whose name is a Python keyword."""

    from_: str = Field("", alias="from")


def test_document_is_generated_without_examples_and_with_duplicate_operation_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Router(tags=["x"])

    @router.get("/without-examples", permission="public", responses={400: {"description": "Own"}})
    async def read_without_examples(query: Annotated[AliasQuery, Query()]) -> WithoutExamples:
        return WithoutExamples(number=len(query.from_))

    @router.get("/anything", permission="public")
    async def read_anything() -> dict[str, int]:
        return {}

    other_router = Router(tags=["x"])
    other_router.get("/other", permission="public")(read_anything)
    with pytest.warns(UserWarning, match="Duplicate Operation ID"):
        document = create_app_with(monkeypatch, router, other_router).openapi()
    paths = inline_components(document)["paths"]
    parameters = {
        parameter["name"] for parameter in paths["/without-examples"]["get"]["parameters"]
    }
    assert "from" in parameters
    assert {"/anything", "/other"} <= paths.keys()


# Descriptions are not required.


class Undocumented(ReadModel):
    id: UUID
    code: str
    version: Version


async def test_models_and_endpoints_without_descriptions_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    router = Router(tags=["undocumented"])

    @router.get("/undocumented", permission="public")
    async def list_undocumented() -> Undocumented:
        return Undocumented(id=UUID(CATEGORY_ID), code="x", version="1")

    StreamEndpoints(
        plural="undocumented",
        create_service=BookService,
        item_model=Undocumented,
        query_model=PageQuery,
        permission="public",
    ).add_to(router, "/undocumented")

    async with open_client(create_app_with(monkeypatch, router)) as client:
        assert (await client.get("/undocumented")).json()["code"] == "x"
        document = (await client.get("/openapi.json")).json()
    for path in ("/undocumented", "/undocumented.csv", "/undocumented.ndjson"):
        [content] = document["paths"][path]["get"]["responses"]["200"]["content"].values()
        assert "example" not in content
