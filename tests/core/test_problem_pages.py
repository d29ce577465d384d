"""Errors as web pages, which browsers get when a person opens a URL."""

from collections.abc import AsyncIterator
from html import unescape

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.storage import Storage
from app.main import create_app
from tests.support.app_clients import client_with_settings, open_client
from tests.support.entity_case import UNKNOWN_ID
from tests.support.problems import check_problem
from tests.support.resources import add_public_route, replace_resources
from tests.support.settings import make_settings

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def closed_client(
    template_url: str, database: Database, storage: Storage
) -> AsyncIterator[AsyncClient]:
    """A client of an application in which all requests need a token."""
    async with client_with_settings(
        template_url, database, storage, anonymous_access="none"
    ) as client:
        yield client


def check_page(response: Response, status: int, title: str) -> None:
    """Check that a response is the page of an error, and must not be stored."""
    assert response.status_code == status
    assert response.headers["vary"] == "Accept"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert f"<h1>{status} {title}</h1>" in response.text
    assert response.headers["x-request-id"] in unescape(response.text)


@pytest.mark.parametrize(
    ("path", "status", "title"),
    [
        ("/nowhere", 404, "Not found"),
        (f"/books/{UNKNOWN_ID}", 404, "Not found"),
        ("/static-offline-docs/nothing", 404, "Not found"),
        ("/tokens/current", 405, "Method not allowed"),
        ("/books?size=0", 422, "Invalid request"),
        ("/%ff", 400, "Malformed request"),
        (f"/{'a' * 9000}", 414, "Uri too long"),
    ],
)
async def test_browser_gets_page_for_error(
    client: AsyncClient, path: str, status: int, title: str
) -> None:
    check_page(await client.get(path, headers=BROWSER), status, title)


async def test_browser_gets_page_for_headers_that_are_too_large(client: AsyncClient) -> None:
    headers = BROWSER | {"Cookie": "a" * 65_536}
    check_page(await client.get("/", headers=headers), 431, "Request header fields too large")


async def test_browser_gets_page_and_challenge_when_token_is_missing(
    closed_client: AsyncClient,
) -> None:
    response = await closed_client.get("/books", headers=BROWSER)
    check_page(response, 401, "Unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer ")


async def test_browser_gets_page_with_each_invalid_value(client: AsyncClient) -> None:
    response = await client.get("/books?size=0&nothing=1", headers=BROWSER)
    assert "<dt>nothing</dt><dd>Unknown parameter</dd>" in response.text


async def test_browser_gets_page_without_cause_for_unexpected_error(
    template_url: str, database: Database, storage: Storage
) -> None:
    app: FastAPI = create_app(make_settings(template_url))
    replace_resources(app, database=database, storage=storage)

    async def fail() -> None:
        raise RuntimeError("secret")

    add_public_route(app, "/boom", fail)
    async with open_client(app) as client:
        response = await client.get("/boom", headers=BROWSER)
    check_page(response, 500, "Internal error")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/<script>alert(1)</script>",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/\"onload='alert(1)",
        "/books?<script>alert(1)</script>=1",
        "/books?%22%3E%3Cimg%20src%3Dx%3E=1",
    ],
)
async def test_page_escapes_what_the_request_contains(client: AsyncClient, path: str) -> None:
    headers = BROWSER | {"X-Request-ID": "<img/src='x'>"}
    response = await client.get(path, headers=headers)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for markup in ("<script", "<img", "'x'", "onload='"):
        assert markup not in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_error_of_other_method_is_json_because_it_may_be_stored(
    client: AsyncClient, method: str
) -> None:
    response = await client.request(method, "/nowhere", headers=BROWSER)
    check_problem(response, 404, "not-found")
