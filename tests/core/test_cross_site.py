"""The refusal of state-changing requests that a browser marks as those of another web page."""

from collections.abc import AsyncIterator

import httpx
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from tests.support import servers
from tests.support.app_clients import client_with_settings
from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.processes import running_server

ALLOWED_ORIGIN = "https://app.example"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


@pytest.fixture
async def page(
    template_url: str, database: Database, storage: Storage
) -> AsyncIterator[AsyncClient]:
    """A client of a service that the pages of one other origin may use."""
    settings = {
        "cors_origins": ALLOWED_ORIGIN,
        "allowed_hosts": "test,localhost,books.example,[::1]",
    }
    async with client_with_settings(template_url, database, storage, **settings) as client:
        yield client


@pytest.fixture(scope="module")
async def server_behind_proxy(template_url: str) -> AsyncIterator[str]:
    """The origin of a server that regards its clients as proxies."""
    settings = {"TRUSTED_PROXIES": "127.0.0.1", "ALLOWED_HOSTS": "books.example"}
    async with (
        servers.open_copy(template_url) as url,
        running_server(DATABASE_URL=url, **settings) as (_, origin),
    ):
        yield origin


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
        # A proxy for developers has changed the Host header.
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:5173"},
        # A person has sent the request, not a page.
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://test"},
        {"Origin": "http://localhost", "Host": "localhost"},
        {"Origin": "http://localhost", "Host": "localhost:80"},
        {"Origin": "http://localhost:8000", "Host": "LOCALHOST:8000"},
        {"Origin": "http://[::1]:8000", "Host": "[::1]:8000"},
        {"Origin": ALLOWED_ORIGIN},
        {"Origin": ALLOWED_ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ALLOWED_ORIGIN, "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_write_of_own_or_allowed_page_or_of_a_program_is_accepted(
    page: AsyncClient, headers: dict[str, str]
) -> None:
    response = await page.post("/authors", json={"name": "Ada"}, headers=headers)
    assert response.status_code == 201, response.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "SAME-ORIGIN"},
        {"Sec-Fetch-Site": ""},
        CROSS_SITE,
        # A page on another port of the same host.
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:5173"},
        # Pages in a sandbox, of a file, or after a redirect.
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:5173"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://books.example", "Host": "localhost"},
        {"Origin": "http://books.example:8080", "Host": "books.example:80"},
        {"Origin": f"{ALLOWED_ORIGIN}:8443"},
        {"Origin": "http://app.example"},
    ],
)
async def test_write_of_another_page_is_a_problem(
    page: AsyncClient, headers: dict[str, str]
) -> None:
    response = await page.post("/authors", json={"name": "Ada"}, headers=headers)
    check_problem(response, 403, "origin-not-allowed")
    assert "access-control-allow-origin" not in response.headers
    assert (await page.get("/authors")).json()["total"] == 0


@pytest.mark.parametrize("header", [("Origin", ALLOWED_ORIGIN), ("Sec-Fetch-Site", "same-origin")])
async def test_write_with_a_repeated_header_is_a_problem(
    page: AsyncClient, header: tuple[str, str]
) -> None:
    headers = [header, header]
    response = await page.post("/authors", json={"name": "Ada"}, headers=headers)
    check_problem(response, 403, "origin-not-allowed")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_method_that_changes_something_is_refused(client: AsyncClient, method: str) -> None:
    author = await make_author(client)
    url = f"/authors/{author['id']}"
    response = await client.request(method, url, headers=CROSS_SITE)
    check_problem(response, 403, "origin-not-allowed")
    assert (await client.get(url)).json() == author


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_method_that_changes_nothing_is_accepted(client: AsyncClient, method: str) -> None:
    response = await client.request(method, "/authors", headers=CROSS_SITE)
    assert response.is_success


@pytest.mark.parametrize("access", ["none", "read", "full"])
async def test_login_of_another_page_is_refused_whatever_callers_without_a_token_may_do(
    template_url: str, database: Database, storage: Storage, access: str
) -> None:
    login = {"username": "ada@example.com", "password": "correct horse"}
    async with client_with_settings(
        template_url, database, storage, anonymous_access=access
    ) as client:
        response = await client.post("/tokens", data=login, headers=CROSS_SITE)
    check_problem(response, 403, "origin-not-allowed")


@pytest.mark.parametrize(
    ("scheme", "page_origin", "expected_status"),
    [
        ("https", "https://books.example", 201),
        ("https", "http://books.example", 403),
        ("wss", "https://books.example", 403),
    ],
)
async def test_own_page_behind_a_proxy_has_the_scheme_that_the_proxy_names(
    server_behind_proxy: str, scheme: str, page_origin: str, expected_status: int
) -> None:
    headers = {"Host": "books.example", "X-Forwarded-Proto": scheme, "Origin": page_origin}
    response = httpx.post(f"{server_behind_proxy}/authors", json={"name": "Ada"}, headers=headers)
    assert response.status_code == expected_status
