"""Caching of the documentation page, its files and the OpenAPI document."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings, open_client
from tests.support.problems import field_error_locations

STATIC_FILE = "/static-offline-docs/swagger-ui-bundle.js"
every_page = pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
every_path = pytest.mark.parametrize("path", ["/docs", "/openapi.json", STATIC_FILE])


@every_path
async def test_page_has_strong_etag_and_must_be_revalidated(client: AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD"):
        response = await client.request(method, path)
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["etag"].startswith('"')


async def test_missing_file_must_not_be_stored(client: AsyncClient) -> None:
    response = await client.get("/static-offline-docs/nothing.js")
    assert (response.status_code, response.headers["cache-control"]) == (404, "no-store")


@every_path
@pytest.mark.parametrize("header", ["{etag}", "W/{etag}", "*", '"other", {etag}'])
async def test_request_with_current_etag_returns_304(
    client: AsyncClient, path: str, header: str
) -> None:
    first = await client.get(path)
    headers = {"If-None-Match": header.format(etag=first.headers["etag"])}
    for method in ("GET", "HEAD"):
        response = await client.request(method, path, headers=headers)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == first.headers["etag"]
        assert response.headers["cache-control"] == first.headers["cache-control"]
        # A browser replaces the stored header, without which the page would not load its scripts.
        policy = "content-security-policy"
        assert response.headers[policy] == first.headers[policy]


@every_page
async def test_request_with_other_etag_returns_page(client: AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"If-None-Match": '"other"'})
    assert response.status_code == 200
    assert response.content


@every_page
async def test_malformed_if_none_match_returns_422(client: AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"If-None-Match": "other"})
    assert field_error_locations(response) == [{"header": "If-None-Match"}]


@every_page
async def test_etag_is_the_same_in_every_process(
    app: FastAPI, template_url: str, database: Database, storage: Storage, path: str
) -> None:
    async with (
        open_client(app) as client,
        client_with_settings(template_url, database, storage) as other_client,
    ):
        etags = {(await each.get(path)).headers["etag"] for each in (client, other_client)}
    assert len(etags) == 1


async def test_etag_of_openapi_document_changes_with_its_content(
    client: AsyncClient, template_url: str, database: Database, storage: Storage
) -> None:
    etag = (await client.get("/openapi.json")).headers["etag"]
    async with client_with_settings(
        template_url, database, storage, anonymous_access="none"
    ) as other_client:
        response = await other_client.get("/openapi.json", headers={"If-None-Match": etag})
    assert response.status_code == 200


async def test_etag_of_documentation_changes_with_its_content_security_policy(
    client: AsyncClient, template_url: str, database: Database, storage: Storage
) -> None:
    etag = (await client.get("/docs")).headers["etag"]
    settings = {"s3_public_endpoint_url": "https://files.example.com"}
    async with client_with_settings(template_url, database, storage, **settings) as other_client:
        response = await other_client.get("/docs", headers={"If-None-Match": etag})
    assert response.status_code == 200


@every_page
@pytest.mark.parametrize(
    "accept_encoding",
    ["gzip", "GZIP", "deflate, gzip", "br;q=1.0, gzip; q=0.8", "gzip;q=0.001", "*", "br, *;q=0.1"],
)
async def test_page_is_compressed_for_client_that_accepts_gzip(
    client: AsyncClient, path: str, accept_encoding: str
) -> None:
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    compressed = await client.get(path, headers={"Accept-Encoding": accept_encoding})
    assert compressed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in compressed.headers["vary"]
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"])
    # httpx has decompressed the content.
    assert compressed.content == plain.content


@every_page
@pytest.mark.parametrize(
    "accept_encoding",
    ["", "identity", "br", "gzip;q=0", "gzip;q=0, *", "*;q=0", "gzip;q=2", "gzip;q=0.5, identity"],
)
async def test_page_is_not_compressed_for_client_that_does_not_accept_or_prefer_gzip(
    client: AsyncClient, path: str, accept_encoding: str
) -> None:
    response = await client.get(path, headers={"Accept-Encoding": accept_encoding})
    assert response.status_code == 200
    assert "content-encoding" not in response.headers
    assert "Accept-Encoding" in response.headers["vary"]


@every_page
async def test_compressed_page_has_an_etag_of_its_own(client: AsyncClient, path: str) -> None:
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    compressed_etag = (await client.get(path)).headers["etag"]
    assert compressed_etag != plain.headers["etag"]
    response = await client.get(path, headers={"If-None-Match": compressed_etag})
    assert (response.status_code, response.headers["etag"]) == (304, compressed_etag)
    assert "Accept-Encoding" in response.headers["vary"]
    response = await client.get(path, headers={"If-None-Match": plain.headers["etag"]})
    assert response.status_code == 200
