"""Headers for browsers: security headers and CORS, and the setting that hides the documentation."""

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings
from tests.support.problems import check_problem

ALLOWED_ORIGIN = "https://app.example"
OTHER_ORIGIN = "https://evil.example"


@pytest.mark.parametrize("path", ["/livez", "/books", "/nowhere", "/books/0", "/docs"])
async def test_every_response_has_security_headers(client: AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'; frame-ancestors 'none'" in headers["content-security-policy"]


async def test_no_origin_is_allowed_by_default(client: AsyncClient) -> None:
    request_headers = {"Origin": ALLOWED_ORIGIN, "Access-Control-Request-Method": "GET"}
    for response in (
        await client.get("/books", headers=request_headers),
        await client.options("/books"),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_only_origins_in_the_settings_may_read_responses(
    template_url: str, database: Database, storage: Storage
) -> None:
    preflight_headers = {
        "Origin": ALLOWED_ORIGIN,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, if-match",
    }
    async with client_with_settings(
        template_url, database, storage, cors_origins=ALLOWED_ORIGIN
    ) as client:
        preflight = await client.options("/books/1", headers=preflight_headers)
        allowed = await client.get("/books", headers={"Origin": ALLOWED_ORIGIN})
        other = await client.get("/books", headers={"Origin": OTHER_ORIGIN})
    assert preflight.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert allowed.headers["access-control-allow-origin"] == ALLOWED_ORIGIN
    assert "ETag" in allowed.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in other.headers


async def test_documentation_is_404_when_it_is_disabled(
    template_url: str, database: Database, storage: Storage
) -> None:
    async with client_with_settings(template_url, database, storage, docs_enabled=False) as client:
        for path in ("/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
            check_problem(await client.get(path), 404, "not-found")
        assert (await client.get("/books")).status_code == 200
