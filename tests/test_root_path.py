"""The service behind a reverse proxy that publishes it under a path prefix (ROOT_PATH)."""

import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.main import create_app
from tests.support.access_log import logged_requests
from tests.support.app_clients import open_client
from tests.support.chromium import CHROMIUM, open_page
from tests.support.factories import make_author, make_book, make_document
from tests.support.prefix_proxy import PREFIX, prefix_proxy
from tests.support.problems import check_problem
from tests.support.processes import running_server
from tests.support.resources import replace_resources
from tests.support.responses import parse_link_header
from tests.support.settings import make_settings
from tests.support.swagger import execute_operation, log_in, open_operation

USER = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
# A proxy that removes the prefix sends the paths of routes. Another one sends longer paths.
received_prefixes = pytest.mark.parametrize("received_prefix", ["", PREFIX])


@pytest.fixture
def prefixed_app(template_url: str, database: Database, storage: Storage) -> FastAPI:
    """An application with a path prefix, which only accepts one host."""
    app = create_app(make_settings(template_url, root_path=PREFIX, allowed_hosts="test"))
    replace_resources(app, database=database, storage=storage)
    return app


@pytest.fixture
async def prefixed_client(prefixed_app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with open_client(prefixed_app) as client:
        yield client


@received_prefixes
async def test_location_has_the_prefix(prefixed_client: AsyncClient, received_prefix: str) -> None:
    # The requests of the factories have no prefix.
    author = await make_author(prefixed_client)
    document = await make_document(prefixed_client)
    user = {**USER, "email": f"{uuid4()}@example.com"}
    upload = {"filename": "a.txt", "content_type": "text/plain", "size": 1}
    for path, body in (
        ("/authors", {"name": "Ada"}),
        ("/books", {"title": "Notes", "author_id": author["id"]}),
        ("/users", user),
        (f"/documents/{document['id']}/uploads", upload),
    ):
        response = await prefixed_client.post(f"{received_prefix}{path}", json=body)
        assert response.status_code == 201
        assert response.headers["location"] == f"{PREFIX}{path}/{response.json()['id']}"
        assert (await prefixed_client.get(response.headers["location"])).status_code == 200

    login = {"username": user["email"], "password": user["password"]}
    response = await prefixed_client.post(f"{received_prefix}/tokens", data=login)
    assert response.headers["location"].startswith(f"{PREFIX}/tokens/")
    response = await prefixed_client.post(
        f"{received_prefix}/documents", data={"name": "a"}, files={"file": ("a", b"a")}
    )
    assert response.headers["location"] == f"{PREFIX}/documents/{response.json()['id']}"


@received_prefixes
async def test_links_to_pages_have_the_prefix(
    prefixed_client: AsyncClient, received_prefix: str
) -> None:
    author = await make_author(prefixed_client)
    for _ in range(3):
        await make_book(prefixed_client, author_id=author["id"])
    for path in ("/books", "/books/", f"/authors/{author['id']}/books"):
        response = await prefixed_client.get(f"{received_prefix}{path}?size=1&page=2")
        links = parse_link_header(response)
        assert set(links) == {"first", "prev", "next", "last"}
        for url in links.values():
            assert url.startswith(f"{PREFIX}{path.removesuffix('/')}?size=1&page=")
            assert (await prefixed_client.get(url)).status_code == 200


@received_prefixes
async def test_problem_names_the_path_with_the_prefix(
    prefixed_client: AsyncClient, received_prefix: str
) -> None:
    response = await prefixed_client.get(f"{received_prefix}/nowhere")
    assert check_problem(response, 404, "not-found")["instance"] == f"{PREFIX}/nowhere"
    response = await prefixed_client.put(f"{received_prefix}/authors")
    problem = check_problem(response, 405, "method-not-allowed")
    assert problem["instance"] == f"{PREFIX}/authors"
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize("root", ["/", PREFIX, f"{PREFIX}/"])
async def test_root_of_the_service_links_to_the_documentation(
    prefixed_client: AsyncClient, root: str
) -> None:
    service = (await prefixed_client.get(root)).json()
    assert service["links"]["documentation"] == f"{PREFIX}/docs"
    page = await prefixed_client.get(root, headers={"Accept": "text/html"})
    assert f'<a href="{PREFIX}/docs">' in page.text
    assert f'href="{PREFIX}/favicon.svg"' in page.text
    assert (await prefixed_client.options(root)).status_code == 204


@received_prefixes
async def test_documentation_page_loads_files_with_the_prefix(
    prefixed_client: AsyncClient, received_prefix: str
) -> None:
    page = await prefixed_client.get(f"{received_prefix}/docs")
    urls = re.findall(r"""(?:src|href|url)(?:=|: )["'](.+?)["']""", page.text)
    # Two style sheets, three scripts, the icon and the OpenAPI document.
    assert len(urls) == 7
    for url in urls:
        assert url.startswith(f"{PREFIX}/")
        assert (await prefixed_client.get(url)).status_code == 200


@received_prefixes
async def test_openapi_document_has_the_prefix_in_servers_and_login(
    prefixed_client: AsyncClient, received_prefix: str
) -> None:
    document = (await prefixed_client.get(f"{received_prefix}/openapi.json")).json()
    assert document["servers"] == [{"url": PREFIX}]
    flow = document["components"]["securitySchemes"]["password"]["flows"]["password"]
    assert flow["tokenUrl"] == f"{PREFIX}/tokens"
    assert "/books" in document["paths"]


async def test_openapi_document_without_prefix_has_its_own_server(client: AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["servers"] == [{"url": "/"}]


@received_prefixes
@pytest.mark.parametrize("path", ["/livez", "/livez/", "/readyz"])
async def test_probe_may_name_any_host_with_and_without_prefix(
    prefixed_client: AsyncClient, received_prefix: str, path: str
) -> None:
    headers = {"Host": "10.0.0.7:8000"}
    response = await prefixed_client.get(f"{received_prefix}{path}", headers=headers)
    assert response.status_code == 200
    check_problem(
        await prefixed_client.get(f"{received_prefix}/books", headers=headers),
        400,
        "malformed-request",
    )


@pytest.mark.parametrize("path", ["/apibooks", "/api2/books", "/API/books", "/api/api/books"])
async def test_path_that_only_resembles_the_prefix_is_404(
    prefixed_client: AsyncClient, path: str
) -> None:
    response = await prefixed_client.get(path)
    problem = check_problem(response, 404, "not-found")
    expected = path if path.startswith("/api/") else f"{PREFIX}{path}"
    assert problem["instance"] == expected


async def test_retry_with_another_prefix_is_the_same_request(
    prefixed_client: AsyncClient, client: AsyncClient
) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    body = {"name": "Ada"}
    first = await prefixed_client.post(f"{PREFIX}/authors", json=body, headers=headers)
    second = await prefixed_client.post("/authors", json=body, headers=headers)
    # The last one goes to a server without the setting, as before the setting was introduced.
    third = await client.post("/authors", json=body, headers=headers)
    assert first.status_code == 201
    for response in (second, third):
        assert response.headers["idempotency-replayed"] == "true"
        assert response.json() == first.json()


@received_prefixes
async def test_log_has_the_route_without_and_the_path_with_the_prefix(
    prefixed_client: AsyncClient, received_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    author = await make_author(prefixed_client)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        await prefixed_client.get(f"{received_prefix}/authors/{author['id']}")
    assert logged_requests(caplog) == [("GET", "/authors/{id}", 200)]
    [record] = [record for record in caplog.records if record.name == "app.access"]
    assert record.path == f"{PREFIX}/authors/{author['id']}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("root_path", ["/books", "/docs", "/books/api", "/livez"])
def test_prefix_that_begins_like_a_route_is_refused(template_url: str, root_path: str) -> None:
    with pytest.raises(ValueError, match="ROOT_PATH must not begin with /"):
        create_app(make_settings(template_url, root_path=root_path))


@pytest.mark.parametrize("removes_prefix", [True, False])
async def test_client_follows_all_references_through_a_proxy(
    private_database_url: str, *, removes_prefix: bool
) -> None:
    environment = {
        "DATABASE_URL": private_database_url,
        "ROOT_PATH": PREFIX,
        "ANONYMOUS_ACCESS": "full",
    }
    async with (
        running_server(**environment) as (_, origin),
        prefix_proxy(origin, removes_prefix=removes_prefix) as url,
        AsyncClient(follow_redirects=True) as client,
    ):
        created = await client.post(f"{url}/authors", json={"name": "Ada"})
        author_url = urljoin(url, created.headers["location"])
        assert (await client.get(author_url)).json() == created.json()
        await client.post(f"{url}/authors", json={"name": "Grace"})
        page = await client.get(f"{url}/authors?size=1")
        next_page = await client.get(urljoin(url, parse_link_header(page)["next"]))
        assert [author["name"] for author in next_page.json()["items"]] == ["Grace"]
        service = (await client.get(f"{url}/")).json()
        documentation = await client.get(urljoin(url, service["links"]["documentation"]))
        assert documentation.status_code == 200

        files = {"file": ("a.txt", b"text")}
        document = await client.post(f"{url}/documents", data={"name": "a"}, files=files)
        content = await client.get(f"{url}/documents/{document.json()['id']}/content")
        assert content.content == b"text"
        assert (await client.get(f"{url}/livez")).status_code == 200
        assert (await client.get(f"{origin}/livez")).status_code == 200


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
async def test_swagger_ui_logs_in_and_sends_a_request_through_a_proxy(
    private_database_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": private_database_url, "ROOT_PATH": PREFIX}
    async with (
        running_server(**environment) as (_, origin),
        prefix_proxy(origin, removes_prefix=True) as url,
        AsyncClient() as client,
    ):
        assert (await client.post(f"{url}/users", json=USER)).status_code == 201
        async with open_page(f"{url}/docs", tmp_path) as page:
            operation = await open_operation(page, "users-read_current_user")
            await log_in(page, operation, USER)
            status, user = await execute_operation(page, operation)
        assert (status, user["email"]) == (200, USER["email"])
