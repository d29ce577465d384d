"""The resource `/`, as a web page and as JSON, and the files that browsers request unasked."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from httpx import AsyncClient

from app import TITLE, __version__
from app.core.db import Database
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings

# Browsers send these headers when they open a URL.
CHROMIUM_ACCEPT = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
)
FIREFOX_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
# Programs send these headers, and web pages that load data.
PROGRAM_ACCEPTS = [
    "*/*",
    "application/json",
    "application/json, text/plain, */*",
    "text/html, application/json",
    "text/html;q=0.5, application/json",
    "text/html;q=0.5, */*",
    "text/html;q=x, */*;q=0.1",
    "application/problem+json, text/html;q=0.9",
    # Java's HttpURLConnection.
    "text/html, image/gif, image/jpeg, */*; q=0.2",
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
    "",
]


class LinkCollector(HTMLParser):
    """Collects the values of all `href` attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Remember the URL of an element that has one."""
        self.urls += [value or "" for name, value in attrs if name == "href"]


async def test_browser_gets_page_whose_links_work(client: AsyncClient) -> None:
    response = await client.get("/", headers={"Accept": CHROMIUM_ACCEPT})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{TITLE} {__version__}</h1>" in response.text
    collector = LinkCollector()
    collector.feed(response.text)
    assert {"/docs", "/openapi.json", "/livez", "/readyz", "/favicon.svg"} == set(collector.urls)
    for url in collector.urls:
        assert (await client.get(url)).status_code == 200


async def test_program_gets_json_with_the_same_content(client: AsyncClient) -> None:
    response = await client.get("/")
    assert response.headers["content-type"] == "application/json"
    service = response.json()
    assert (service["name"], service["version"]) == (TITLE, __version__)
    assert service["access"] == "full"
    page = await client.get("/", headers={"Accept": FIREFOX_ACCEPT})
    for text in (service["access_description"], *service["links"].values()):
        assert text in page.text


@pytest.mark.parametrize(
    "accept", [CHROMIUM_ACCEPT, FIREFOX_ACCEPT, "text/html", "text/*, */*;q=0.1"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_client_that_prefers_html_gets_html(
    client: AsyncClient, accept: str, method: str
) -> None:
    for path, status in (("/", 200), ("/nowhere", 404)):
        response = await client.request(method, path, headers={"Accept": accept})
        assert response.status_code == status
        assert response.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("accept", PROGRAM_ACCEPTS)
async def test_client_that_does_not_prefer_html_gets_json(client: AsyncClient, accept: str) -> None:
    for path, media_type in (("/", "application/json"), ("/nowhere", "application/problem+json")):
        response = await client.get(path, headers={"Accept": accept})
        assert response.headers["content-type"] == media_type


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
async def test_caches_keep_page_and_json_apart(client: AsyncClient, accept: str) -> None:
    response = await client.get("/", headers={"Accept": accept})
    assert response.headers["vary"] == "Accept"
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("path", ["/", "/nowhere"])
async def test_policy_of_page_allows_only_its_style_and_icon(
    client: AsyncClient, path: str
) -> None:
    response = await client.get(path, headers={"Accept": "text/html"})
    [style] = re.findall("<style>(.*?)</style>", response.text, re.DOTALL)
    style_hash = b64encode(sha256(style.encode()).digest()).decode()
    assert response.headers["content-security-policy"] == (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"img-src 'self'; style-src 'sha256-{style_hash}'"
    )
    assert "<script" not in response.text
    assert "style=" not in response.text


@pytest.mark.parametrize("access", ["none", "read", "full"])
async def test_service_states_its_access(
    access: str, template_url: str, database: Database, storage: Storage
) -> None:
    async with client_with_settings(
        template_url, database, storage, anonymous_access=access
    ) as client:
        service = (await client.get("/")).json()
    assert service["access"] == access
    assert ("Anyone" in service["access_description"]) == (access != "none")


async def test_service_without_documentation_hides_links_and_version(
    template_url: str, database: Database, storage: Storage
) -> None:
    async with client_with_settings(template_url, database, storage, docs_enabled=False) as client:
        service = (await client.get("/")).json()
        page = await client.get("/", headers={"Accept": "text/html"})
    assert service["version"] is None
    assert service["links"]["documentation"] is service["links"]["openapi"] is None
    assert f"<h1>{TITLE}</h1>" in page.text
    assert "/docs" not in page.text


@pytest.mark.parametrize(
    ("path", "media_type", "beginning"),
    [
        ("/favicon.ico", "image/x-icon", b"\0\0\1\0"),
        ("/favicon.svg", "image/svg+xml", b"<svg "),
        ("/robots.txt", "text/plain; charset=utf-8", b"User-agent: *\nDisallow: /\n"),
    ],
)
async def test_file_for_browsers_may_be_cached_for_a_day(
    client: AsyncClient, path: str, media_type: str, beginning: bytes
) -> None:
    response = await client.get(path)
    assert response.headers["content-type"] == media_type
    assert response.headers["cache-control"] == "public, max-age=86400"
    assert response.content.startswith(beginning)
    headers = {"If-None-Match": response.headers["etag"]}
    assert (await client.get(path, headers=headers)).status_code == 304
