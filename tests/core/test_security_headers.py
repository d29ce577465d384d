"""Security headers, and the setting that hides the documentation."""

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings
from tests.support.problems import check_problem


@pytest.mark.parametrize("path", ["/", "/livez", "/books", "/nowhere", "/books/0", "/docs"])
async def test_every_response_has_security_headers(client: AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'; frame-ancestors 'none'" in headers["content-security-policy"]


async def test_documentation_is_404_when_it_is_disabled(
    template_url: str, database: Database, storage: Storage
) -> None:
    async with client_with_settings(template_url, database, storage, docs_enabled=False) as client:
        for path in ("/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"):
            check_problem(await client.get(path), 404, "not-found")
        assert (await client.get("/books")).status_code == 200


async def test_documentation_page_has_no_inline_scripts_and_styles(client: AsyncClient) -> None:
    response = await client.get("/docs")
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'; style-src 'self'; img-src 'self' data:;" in policy
    assert "unsafe" not in policy
    for inline in ("<script>", "<style", "style=", "onload="):
        assert inline not in response.text


@pytest.mark.parametrize(
    ("store", "source"),
    [
        ({"s3_endpoint_url": "http://minio:9000"}, "http://minio:9000"),
        ({"s3_endpoint_url": "https://x.supabase.co/storage/v1/s3"}, "https://x.supabase.co"),
        (
            {"s3_endpoint_url": "https://s3.example.com", "s3_addressing_style": "virtual"},
            "https://bookshelf.s3.example.com",
        ),
        ({"s3_public_endpoint_url": "https://cdn.example.com/s3"}, "https://cdn.example.com"),
        ({"s3_endpoint_url": "http://[::1]:9000"}, "http:"),
        ({"s3_endpoint_url": None}, "http: https:"),
    ],
)
async def test_documentation_may_download_from_host_of_signed_urls(
    store: dict[str, object], source: str, template_url: str, database: Database, storage: Storage
) -> None:
    async with client_with_settings(template_url, database, storage, **store) as client:
        policy = (await client.get("/docs")).headers["content-security-policy"]
    assert policy.endswith(f"; connect-src 'self' {source}")
