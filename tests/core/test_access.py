"""Who asks is settled before all else, whatever the method, the path and the media type."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from tests.authors.test_authors import NOBODY
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
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.streamed_lists import CSV, CSV_TYPE, NDJSON, STREAMED_PATHS, get_stream

TOKEN = TOKENS["owner"]
BAD = bearer_headers(TOKENS["expired"])
JSON = {"Content-Type": "application/json"}
LARGE = FORM_HEADERS | {"Content-Length": "9" * 15}
# Each would be refused for what it is, if who sends it did not come first.
BROKEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "unknown parameter": ("GET", "/books?nope=1", {}),
    "parameter out of bounds": ("GET", "/books?size=0", {}),
    "no id": ("GET", "/documents/x", {}),
    "pages of lines": ("GET", "/books?page=1", {"headers": {"Accept": CSV}}),
    "no JSON": ("POST", "/authors", {"content": b"{", "headers": JSON}),
    "no name": ("POST", "/authors", {"json": {}}),
    "another media type": ("POST", "/books", {"content": b"x"}),
    "no form": ("POST", "/documents", {"json": {}}),
    "too large": ("POST", "/documents", {"content": b"", "headers": LARGE}),
    "no entity tag": ("DELETE", f"/books/{BOOK_ID}", {"headers": {"If-Match": "x"}}),
    "nothing there": ("GET", f"/authors/{NOBODY}", {}),
}

broken_requests = pytest.mark.parametrize("broken", BROKEN)


@pytest.fixture(autouse=True)
async def people(database: Database) -> None:
    await add_callers(database)
    await add_resources(database, "owner")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 307), ("/docs", 200), ("/openapi.json", 200), ("/livez", 200), ("/readyz", 200)],
)
async def test_where_nobody_asks_for_a_token_a_bad_one_does_no_harm(
    client: AsyncClient, app: FastAPI, path: str, status: int
) -> None:
    app.openapi()  # once for all tests, and theirs is that of `full`
    set_anonymous_access(app, "none")
    for headers in ({}, BAD, {"Authorization": "Bearer x"}):
        assert (await client.get(path, headers=headers)).status_code == status


# First of all


@broken_requests
async def test_who_may_hears_what_is_wrong(client: AsyncClient, broken: str) -> None:
    method, path, request = BROKEN[broken]
    answer = await client.request(method, path, **request)
    assert answer.status_code in {400, 404, 413, 415, 422}


@broken_requests
async def test_without_a_token_nobody_hears_what_else_is_wrong(
    client: AsyncClient, app: FastAPI, broken: str
) -> None:
    set_anonymous_access(app, "none")
    method, path, request = BROKEN[broken]
    answer = await client.request(method, path, **request)
    check_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == CHALLENGE


@broken_requests
async def test_with_a_bad_token_nobody_hears_what_else_is_wrong(
    client: AsyncClient, broken: str
) -> None:
    method, path, request = BROKEN[broken]
    headers = request.get("headers", {}) | BAD
    answer = await client.request(method, path, **{**request, "headers": headers})
    check_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE


@pytest.mark.parametrize("broken", ["no JSON", "no name", "another media type", "no entity tag"])
async def test_with_too_low_a_role_nobody_hears_what_else_is_wrong(
    client: AsyncClient, broken: str
) -> None:
    method, path, request = BROKEN[broken]
    headers = request.get("headers", {}) | bearer_headers(TOKEN)
    answer = await client.request(method, path, **{**request, "headers": headers})
    check_problem(answer, 403, "forbidden")
    assert answer.headers["www-authenticate"] == INSUFFICIENT_SCOPE_CHALLENGE


@pytest.mark.parametrize("path", ["/documents", "/authors"])
async def test_nothing_is_read_of_what_somebody_may_not_send(
    client: AsyncClient, app: FastAPI, path: str
) -> None:
    set_anonymous_access(app, "read")
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(path)
        yield b"x"

    headers = FORM_HEADERS if path == "/documents" else JSON
    answer = await client.post(path, content=body(), headers=headers)
    assert (answer.status_code, read) == (401, [])


# Methods and paths


@pytest.mark.parametrize(
    "path", ["/books", f"/books/{BOOK_ID}", f"/documents/{DOCUMENT_ID}", "/users/me"]
)
@pytest.mark.parametrize(
    ("headers", "challenge"),
    [({}, CHALLENGE), (BAD, INVALID_TOKEN_CHALLENGE)],
    ids=["no token", "a bad one"],
)
async def test_head_is_judged_as_get_is(
    client: AsyncClient, app: FastAPI, path: str, headers: dict[str, str], challenge: str
) -> None:
    set_anonymous_access(app, "none")
    answer = await client.head(path, headers=headers)
    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["www-authenticate"] == challenge
    assert (await client.head(path, headers=bearer_headers(TOKEN))).status_code == 200


@pytest.mark.parametrize("path", ["/books/", f"/books/{BOOK_ID}/", "/documents/", "/users/me/"])
async def test_a_path_with_a_trailing_slash_is_judged_as_the_one_without(
    client: AsyncClient, app: FastAPI, path: str
) -> None:
    set_anonymous_access(app, "none")
    check_problem(await client.get(path), 401, "unauthorized")
    check_problem(await client.get(path, headers=BAD), 401, "unauthorized")
    assert (await client.get(path, headers=bearer_headers(TOKEN))).status_code == 200


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
async def test_what_no_route_answers_asks_nobody_who_he_is(
    client: AsyncClient, app: FastAPI, statements: list[str], method: str, path: str, status: int
) -> None:
    set_anonymous_access(app, "none")
    statements.clear()
    for headers in ({}, BAD, bearer_headers(TOKEN)):
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == status
        assert "www-authenticate" not in answer.headers
    assert statements == []


# Streams


@pytest.mark.parametrize("path", STREAMED_PATHS)
@pytest.mark.parametrize(("accept", "kind"), [(CSV, CSV_TYPE), (NDJSON, NDJSON)])
@pytest.mark.parametrize("anonymous", ANONYMOUS_CALLERS)
async def test_whole_lists_are_judged_as_pages_are(
    client: AsyncClient, app: FastAPI, path: str, accept: str, kind: str, anonymous: str
) -> None:
    set_anonymous_access(app, anonymous)
    bare = await get_stream(client, path, accept)
    if anonymous == "none":
        check_problem(bare, 401, "unauthorized")
    else:
        assert (bare.status_code, bare.headers["content-type"]) == (200, kind)
    client.headers = bearer_headers(TOKEN)
    answer = await get_stream(client, path, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert str(RESOURCE_IDS[path]) in answer.text
    client.headers = BAD
    check_problem(await get_stream(client, path, accept), 401, "unauthorized")
