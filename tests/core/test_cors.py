"""CORS: which web pages of other origins may send requests and read the responses."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from fastapi import Response as ServiceResponse
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.server._cors import EXPOSED_HEADERS
from app.core.server._request_limits import MAX_HEADERS_BYTES, MAX_TARGET_BYTES
from app.core.storage import Storage
from app.main import create_app
from tests.support.app_clients import open_client
from tests.support.factories import Json, make_author, make_document
from tests.support.problems import check_problem
from tests.support.resources import add_public_route, replace_resources
from tests.support.settings import make_settings

ALLOWED_ORIGIN = "https://app.example"
SECOND_ORIGIN = "http://localhost:5173"
PREFLIGHT_HEADERS = {"Origin": ALLOWED_ORIGIN, "Access-Control-Request-Method": "PATCH"}
# Scripts may read these headers without permission (the Fetch standard). Vary is for caches.
READABLE_HEADERS = {"Cache-Control", "Content-Length", "Content-Type", "Vary"}


@pytest.fixture
async def cors_app(template_url: str, database: Database, storage: Storage) -> FastAPI:
    """An application that pages of two origins may use."""
    origins = f"{ALLOWED_ORIGIN}, {SECOND_ORIGIN}"
    app = create_app(make_settings(template_url, allowed_hosts="test", cors_origins=origins))
    replace_resources(app, database=database, storage=storage)
    return app


@pytest.fixture
async def page(cors_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client that sends the requests of a page whose origin is allowed."""
    async with open_client(cors_app, headers={"Origin": ALLOWED_ORIGIN}) as client:
        yield client


def list_names(header: str) -> list[str]:
    """Return the names in a header, for example `["Accept", "Origin"]`."""
    return [name.strip() for name in header.split(",")]


def check_readable(response: Response, status: int) -> None:
    """Check the status of a response, and that the page with `ALLOWED_ORIGIN` may read it."""
    assert response.status_code == status, response.text
    assert response.headers.get_list("access-control-allow-origin") == [ALLOWED_ORIGIN]
    assert list_names(response.headers["access-control-expose-headers"]) == list(EXPOSED_HEADERS)
    assert "access-control-allow-credentials" not in response.headers
    [vary] = response.headers.get_list("vary")
    assert list_names(vary).count("Origin") == 1


async def test_page_may_read_successful_responses(page: AsyncClient) -> None:
    author = await page.post("/authors", json={"name": "Ada"})
    check_readable(author, 201)
    path = author.headers["location"]
    etag = author.headers["etag"]
    check_readable(await page.get(path), 200)
    check_readable(await page.head(path), 200)
    check_readable(await page.get(path, headers={"If-None-Match": etag}), 304)
    check_readable(await page.options(path), 204)
    check_readable(await page.patch(path, json={"name": "Grace"}), 200)
    check_readable(await page.delete(path), 204)
    check_readable(await page.get("/authors.csv"), 200)
    check_readable(await page.get("/livez"), 200)
    check_readable(await page.get("/openapi.json"), 200)


async def test_page_may_read_the_redirect_to_a_file(page: AsyncClient) -> None:
    document = await make_document(page, content=b"text")
    check_readable(await page.get(f"/documents/{document['id']}/content"), 307)


async def test_page_may_read_errors_of_the_application(page: AsyncClient) -> None:
    author = await make_author(page)
    path = f"/authors/{author['id']}"
    check_readable(await page.get("/users/me"), 401)
    check_readable(await page.get("/nowhere"), 404)
    check_readable(await page.put("/authors"), 405)
    check_readable(await page.delete(path, headers={"If-Match": '"9"'}), 412)
    check_readable(await page.post("/authors", content=b"x"), 415)
    check_readable(await page.post("/authors", json={}), 422)


async def test_page_may_read_a_500(page: AsyncClient, cors_app: FastAPI) -> None:
    async def fail() -> None:
        raise RuntimeError

    add_public_route(cors_app, "/boom", fail)
    response = await page.get("/boom")
    check_readable(response, 500)
    check_problem(response, 500, "internal-error")


async def test_page_may_read_the_response_to_a_request_that_times_out(template_url: str) -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    timeouts = {"db_pool_timeout": 0.1, "db_statement_timeout": 0.1, "request_timeout": 0.3}
    app = create_app(make_settings(template_url, cors_origins=ALLOWED_ORIGIN, **timeouts))
    add_public_route(app, "/wait", wait)
    async with open_client(app, headers={"Origin": ALLOWED_ORIGIN}) as page:
        check_readable(await page.get("/wait"), 503)


async def test_page_may_read_the_rejections_of_request_limits(page: AsyncClient) -> None:
    check_readable(await page.get("/books", headers={"Host": "other.example"}), 400)
    check_readable(await page.get("/books?q=" + "x" * MAX_TARGET_BYTES), 414)
    check_readable(await page.get("/books", headers={"X-A": "x" * MAX_HEADERS_BYTES}), 431)


async def test_origin_is_added_to_an_existing_vary_header(
    page: AsyncClient, cors_app: FastAPI
) -> None:
    async def vary() -> ServiceResponse:
        return ServiceResponse(headers={"Vary": "Accept"})

    add_public_route(cors_app, "/varying", vary)
    response = await page.get("/varying")
    assert response.headers["vary"] == "Accept, Origin"


async def test_second_origin_in_the_setting_is_allowed(page: AsyncClient) -> None:
    response = await page.get("/books", headers={"Origin": SECOND_ORIGIN})
    assert response.headers["access-control-allow-origin"] == SECOND_ORIGIN


@pytest.mark.parametrize(
    "origins",
    [
        [],
        ["https://evil.example"],
        ["null"],
        [""],
        ["*"],
        ["http://app.example"],
        ["https://app.example:8443"],
        ["https://app.example.evil.example"],
        ["https://sub.app.example"],
        ["https://app.example, https://evil.example"],
        ["https://app.example", "https://app.example"],
    ],
)
async def test_response_to_another_origin_varies_but_is_not_readable(
    cors_app: FastAPI, origins: list[str]
) -> None:
    headers = [("Origin", origin) for origin in origins]
    async with open_client(cors_app) as client:
        response = await client.get("/livez", headers=headers)
    assert response.status_code == 200
    assert response.headers["vary"] == "Origin"
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_no_response_mentions_origins_if_none_are_allowed(client: AsyncClient) -> None:
    for response in (
        await client.get("/livez", headers=PREFLIGHT_HEADERS),
        await client.options("/livez", headers=PREFLIGHT_HEADERS),
    ):
        assert "vary" not in response.headers
        assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_preflight_permits_every_method_and_header_of_the_api(
    page: AsyncClient, document: Json
) -> None:
    for path, path_item in document["paths"].items():
        for method, operation in path_item.items():
            parameters = operation.get("parameters", [])
            names = [item["name"] for item in parameters if item["in"] == "header"]
            requested_headers = ",".join(["authorization", "content-type", *names]).lower()
            headers = {
                "Access-Control-Request-Method": method.upper(),
                "Access-Control-Request-Headers": requested_headers,
            }
            response = await page.options(path, headers=headers)
            check_readable(response, 204)
            allowed_methods = list_names(response.headers["access-control-allow-methods"])
            assert method.upper() in allowed_methods
            assert response.headers["access-control-allow-headers"] == requested_headers
            assert int(response.headers["access-control-max-age"]) > 0


async def test_preflight_succeeds_for_paths_that_do_not_exist(page: AsyncClient) -> None:
    # The page can then read why the request itself fails.
    response = await page.options("/nowhere/", headers=PREFLIGHT_HEADERS)
    check_readable(response, 204)
    assert response.content == b""


async def test_preflight_permits_access_from_a_public_page_to_a_private_network(
    page: AsyncClient,
) -> None:
    headers = {**PREFLIGHT_HEADERS, "Access-Control-Request-Private-Network": "true"}
    response = await page.options("/books", headers=headers)
    check_readable(response, 204)
    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_preflight_of_another_origin_is_a_problem(page: AsyncClient, origin: str) -> None:
    response = await page.options("/books", headers={**PREFLIGHT_HEADERS, "Origin": origin})
    check_problem(response, 403, "origin-not-allowed")
    assert "www-authenticate" not in response.headers
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_options_without_requested_method_is_not_a_preflight(page: AsyncClient) -> None:
    response = await page.options("/authors")
    check_readable(response, 204)
    assert "POST" in response.headers["allow"]
    assert "access-control-allow-methods" not in response.headers


def test_all_documented_response_headers_are_readable(document: Json) -> None:
    documented_headers = set(document["components"]["headers"])
    assert documented_headers - READABLE_HEADERS <= set(EXPOSED_HEADERS)
