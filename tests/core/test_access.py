"""Permissions are checked before anything else of a request, for every method and media type."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from tests.support.access_table import (
    ANONYMOUS_CALLERS,
    CHALLENGE,
    INSUFFICIENT_SCOPE_CHALLENGE,
    INVALID_TOKEN_CHALLENGE,
)
from tests.support.accounts import bearer_headers
from tests.support.callers import (
    BOOK_ID,
    DOCUMENT_ID,
    RESOURCE_IDS,
    TOKENS,
    add_callers,
    add_resources,
    set_anonymous_access,
)
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.streamed_lists import CONTENT_TYPES, STREAMED_PATHS, get_stream

MEMBER_TOKEN = TOKENS["owner"]
EXPIRED_TOKEN_HEADERS = bearer_headers(TOKENS["expired"])
JSON_HEADERS = {"Content-Type": "application/json"}
TOO_LARGE_HEADERS = FORM_HEADERS | {"Content-Length": "9" * 15}
# Each of these requests has an error, which only a caller with the permission may see.
BROKEN_REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "unknown parameter": ("GET", "/books?nope=1", {}),
    "parameter out of bounds": ("GET", "/books?size=0", {}),
    "malformed id": ("GET", "/documents/x", {}),
    "page of a streamed list": ("GET", "/books.csv?page=1", {}),
    "malformed JSON": ("POST", "/authors", {"content": b"{", "headers": JSON_HEADERS}),
    "missing field": ("POST", "/authors", {"json": {}}),
    "unsupported media type": ("POST", "/books", {"content": b"x"}),
    "JSON instead of a form": ("POST", "/documents", {"json": {}}),
    "too large a body": ("POST", "/documents", {"content": b"", "headers": TOO_LARGE_HEADERS}),
    "malformed If-Match": ("DELETE", f"/books/{BOOK_ID}", {"headers": {"If-Match": "x"}}),
    "missing resource": ("GET", f"/authors/{UNKNOWN_ID}", {}),
}

broken_requests = pytest.mark.parametrize("broken", BROKEN_REQUESTS)


@pytest.fixture(autouse=True)
async def callers_and_resources(database: Database) -> None:
    await add_callers(database)
    await add_resources(database, "owner")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/docs", 200), ("/openapi.json", 200), ("/livez", 200), ("/readyz", 200)],
)
async def test_public_route_ignores_invalid_token(
    client: AsyncClient, app: FastAPI, path: str, status: int
) -> None:
    # Build the document, which all tests share, while anonymous access is `full`.
    app.openapi()
    set_anonymous_access(app, "none")
    for headers in ({}, EXPIRED_TOKEN_HEADERS, {"Authorization": "Bearer x"}):
        assert (await client.get(path, headers=headers)).status_code == status


# Errors of requests


@broken_requests
async def test_broken_request_returns_its_own_error_when_caller_is_permitted(
    client: AsyncClient, broken: str
) -> None:
    method, path, request = BROKEN_REQUESTS[broken]
    response = await client.request(method, path, **request)
    assert response.status_code in {400, 404, 413, 415, 422}


@broken_requests
async def test_broken_request_returns_401_without_token(
    client: AsyncClient, app: FastAPI, broken: str
) -> None:
    set_anonymous_access(app, "none")
    method, path, request = BROKEN_REQUESTS[broken]
    response = await client.request(method, path, **request)
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == CHALLENGE


@broken_requests
async def test_broken_request_returns_401_with_invalid_token(
    client: AsyncClient, broken: str
) -> None:
    method, path, request = BROKEN_REQUESTS[broken]
    headers = request.get("headers", {}) | EXPIRED_TOKEN_HEADERS
    response = await client.request(method, path, **{**request, "headers": headers})
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE


@pytest.mark.parametrize(
    "broken", ["malformed JSON", "missing field", "unsupported media type", "malformed If-Match"]
)
async def test_broken_request_returns_403_when_role_is_too_low(
    client: AsyncClient, broken: str
) -> None:
    method, path, request = BROKEN_REQUESTS[broken]
    headers = request.get("headers", {}) | bearer_headers(MEMBER_TOKEN)
    response = await client.request(method, path, **{**request, "headers": headers})
    check_problem(response, 403, "forbidden")
    assert response.headers["www-authenticate"] == INSUFFICIENT_SCOPE_CHALLENGE


async def test_no_operation_reads_its_body_before_it_has_checked_the_token(
    client: AsyncClient, document: Json
) -> None:
    chunks_read = []

    async def body() -> AsyncIterator[bytes]:
        chunks_read.append(b"x")
        yield b"x"

    statuses = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            # Only public operations have no security requirement.
            if "requestBody" in operation and operation["security"]:
                item_id = 1 if path.startswith("/users") else UNKNOWN_ID
                url = path.format(id=item_id, upload_id=UNKNOWN_ID)
                response = await client.request(
                    method, url, content=body(), headers=EXPIRED_TOKEN_HEADERS
                )
                statuses[method, path] = response.status_code
    assert statuses.keys() >= {("post", "/books/batch"), ("patch", "/documents/{id}")}
    assert set(statuses.values()) == {401}
    assert chunks_read == []


# Methods and paths


@pytest.mark.parametrize(
    "path", ["/books", f"/books/{BOOK_ID}", f"/documents/{DOCUMENT_ID}", "/users/me"]
)
@pytest.mark.parametrize(
    ("headers", "challenge"),
    [({}, CHALLENGE), (EXPIRED_TOKEN_HEADERS, INVALID_TOKEN_CHALLENGE)],
    ids=["no token", "invalid token"],
)
async def test_head_requires_same_permission_as_get(
    client: AsyncClient, app: FastAPI, path: str, headers: dict[str, str], challenge: str
) -> None:
    set_anonymous_access(app, "none")
    response = await client.head(path, headers=headers)
    assert (response.status_code, response.content) == (401, b"")
    assert response.headers["www-authenticate"] == challenge
    assert (await client.head(path, headers=bearer_headers(MEMBER_TOKEN))).status_code == 200


@pytest.mark.parametrize("path", ["/books/", f"/books/{BOOK_ID}/", "/documents/", "/users/me/"])
async def test_path_with_trailing_slash_requires_same_permission(
    client: AsyncClient, app: FastAPI, path: str
) -> None:
    set_anonymous_access(app, "none")
    check_problem(await client.get(path), 401, "unauthorized")
    check_problem(await client.get(path, headers=EXPIRED_TOKEN_HEADERS), 401, "unauthorized")
    assert (await client.get(path, headers=bearer_headers(MEMBER_TOKEN))).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", "/documents", 204),
        ("PUT", "/documents", 405),
        ("DELETE", "/users", 405),
        ("GET", "/nope", 404),
        ("POST", "/documents/1/2/3", 404),
    ],
)
async def test_request_without_route_needs_no_token_and_executes_no_statement(
    client: AsyncClient, app: FastAPI, statements: list[str], method: str, path: str, status: int
) -> None:
    set_anonymous_access(app, "none")
    statements.clear()
    for headers in ({}, EXPIRED_TOKEN_HEADERS, bearer_headers(MEMBER_TOKEN)):
        response = await client.request(method, path, headers=headers)
        assert response.status_code == status
        assert "www-authenticate" not in response.headers
    assert statements == []


# Streams


@pytest.mark.parametrize("path", STREAMED_PATHS)
@pytest.mark.parametrize(("extension", "content_type"), CONTENT_TYPES.items())
@pytest.mark.parametrize("anonymous", ANONYMOUS_CALLERS)
async def test_streamed_list_requires_same_permission_as_page(
    client: AsyncClient, app: FastAPI, path: str, extension: str, content_type: str, anonymous: str
) -> None:
    set_anonymous_access(app, anonymous)
    anonymous_response = await get_stream(client, path, extension)
    if anonymous == "none":
        check_problem(anonymous_response, 401, "unauthorized")
    else:
        assert (anonymous_response.status_code, anonymous_response.headers["content-type"]) == (
            200,
            content_type,
        )
    client.headers = bearer_headers(MEMBER_TOKEN)
    response = await get_stream(client, path, extension)
    assert (response.status_code, response.headers["content-type"]) == (200, content_type)
    assert str(RESOURCE_IDS[path]) in response.text
    client.headers = EXPIRED_TOKEN_HEADERS
    check_problem(await get_stream(client, path, extension), 401, "unauthorized")
