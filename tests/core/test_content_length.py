"""Bodies that are announced as too large: 413 before the server asks for the body."""

import json

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author
from tests.support.json_bodies import MAX_JSON_SIZE, json_operations, max_body_size
from tests.support.problems import check_problem
from tests.support.protocol_server import serving_app
from tests.support.raw_requests import RawResponse, send_raw_request

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
ONE_TERABYTE = 10**12
# Each operation with a content type, which those without a body ignore.
OPERATIONS = [
    ("POST", "/authors", JSON),
    ("PATCH", f"/authors/{UNKNOWN_ID}", JSON),
    ("POST", "/books/batch", JSON),
    ("POST", "/tokens", FORM),
    ("POST", "/documents", MULTIPART),
    ("PATCH", f"/documents/{UNKNOWN_ID}", MULTIPART),
    ("DELETE", f"/authors/{UNKNOWN_ID}", JSON),
    ("POST", f"/documents/{UNKNOWN_ID}/uploads/{UNKNOWN_ID}/complete", JSON),
    ("GET", "/authors", JSON),
    ("HEAD", "/authors", JSON),
    ("GET", f"/documents/{UNKNOWN_ID}", JSON),
    ("GET", "/livez", JSON),
]
every_operation = pytest.mark.parametrize(
    ("method", "path", "content_type"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS]
)


async def send_head(
    origin: str, method: str, path: str, content_type: str, length: int, *more_headers: str
) -> RawResponse:
    """Send the head of a request, but no body. Return the first response."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: test",
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
        *more_headers,
    ]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return await send_raw_request(origin, head.encode(), has_body=method != "HEAD")


@every_operation
@pytest.mark.parametrize("more_headers", [["Expect: 100-continue"], []], ids=["expect", "plain"])
async def test_announced_large_body_returns_413_without_asking_for_it(
    app: FastAPI, method: str, path: str, content_type: str, more_headers: list[str]
) -> None:
    async with serving_app(app) as origin:
        response = await send_head(origin, method, path, content_type, ONE_TERABYTE, *more_headers)
    assert response.status == 413
    if method != "HEAD":
        assert json.loads(response.body)["type"].endswith(":payload-too-large")


async def test_announced_large_body_with_idempotency_key_returns_413(app: FastAPI) -> None:
    async with serving_app(app) as origin:
        for method, path, content_type in OPERATIONS:
            key = "Idempotency-Key: a-key"
            response = await send_head(origin, method, path, content_type, ONE_TERABYTE, key)
            assert response.status == 413, path


async def test_body_of_allowed_size_is_asked_for(app: FastAPI) -> None:
    async with serving_app(app) as origin:
        for length in (20, MAX_JSON_SIZE):
            expect = "Expect: 100-continue"
            response = await send_head(origin, "POST", "/authors", JSON, length, expect)
            assert response.status == 100


async def test_every_json_operation_returns_413_by_content_length(client: AsyncClient) -> None:
    for method, path in await json_operations(client):
        headers = {"Content-Type": JSON, "Content-Length": str(max_body_size(path) + 1)}
        response = await client.request(method, path, content=b"{}", headers=headers)
        check_problem(response, 413, "payload-too-large")


@pytest.mark.parametrize("length", ["", "x", "-1", "1e9"])
async def test_malformed_content_length_is_ignored_by_the_application(
    client: AsyncClient, length: str
) -> None:
    # The HTTP parser refuses such a request. A server with another parser must not get a 500.
    headers = {"Content-Type": JSON, "Content-Length": length}
    response = await client.post("/authors", content=b'{"name": "Ursula"}', headers=headers)
    assert response.status_code == 201


async def test_delete_with_announced_large_body_deletes_nothing(client: AsyncClient) -> None:
    author = await make_author(client)
    path = f"/authors/{author['id']}"
    response = await client.delete(path, headers={"Content-Length": str(ONE_TERABYTE)})
    check_problem(response, 413, "payload-too-large")
    assert (await client.get(path)).json() == author


async def test_missing_token_is_reported_before_large_body(
    template_url: str, database: Database, storage: Storage
) -> None:
    headers = {"Content-Type": JSON, "Content-Length": str(ONE_TERABYTE)}
    async with client_with_settings(
        template_url, database, storage, anonymous_access="none"
    ) as client:
        response = await client.post("/authors", content=b"{}", headers=headers)
    check_problem(response, 401, "unauthorized")


async def test_large_body_is_reported_before_unknown_parameter_and_content_type(
    client: AsyncClient,
) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": str(ONE_TERABYTE)}
    response = await client.post("/authors?x=1", content=b"{}", headers=headers)
    check_problem(response, 413, "payload-too-large")


async def test_large_form_is_refused_before_any_statement(
    client: AsyncClient, statements: list[str]
) -> None:
    headers = {"Content-Type": MULTIPART, "Content-Length": str(ONE_TERABYTE)}
    for method, path in (("POST", "/documents"), ("PATCH", f"/documents/{UNKNOWN_ID}")):
        response = await client.request(method, path, content=b"x", headers=headers)
        check_problem(response, 413, "payload-too-large")
    assert statements == []
