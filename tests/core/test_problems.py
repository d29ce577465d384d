"""Problem responses for errors of every layer, and methods, trailing slashes and request ids."""

import logging
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.core.observability import create_log_formatter
from app.core.storage import Storage
from app.main import create_app
from tests.support.app_clients import open_client
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book, make_document, make_user
from tests.support.problems import PROBLEM_MEMBERS, check_problem, field_error_locations
from tests.support.resources import add_public_route, replace_resources
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

ITEM = "DELETE, GET, HEAD, OPTIONS, PATCH"
COLLECTION = "GET, HEAD, OPTIONS, POST"
READ_ONLY = "GET, HEAD, OPTIONS"
ALLOW = {
    "/authors": COLLECTION,
    f"/authors/{UNKNOWN_ID}": ITEM,
    f"/authors/{UNKNOWN_ID}/books": READ_ONLY,
    "/books": COLLECTION,
    f"/books/{UNKNOWN_ID}": ITEM,
    "/users": COLLECTION,
    "/users/1": ITEM,
    "/users/me": READ_ONLY,
    "/books/batch": "OPTIONS, POST",
    "/tokens/current": "DELETE, OPTIONS",
    "/livez": READ_ONLY,
    "/readyz": READ_ONLY,
    "/docs": READ_ONLY,
    "/openapi.json": READ_ONLY,
    "/": READ_ONLY,
    "/favicon.ico": READ_ONLY,
    "/static-offline-docs/swagger-ui.css": READ_ONLY,
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"]

paths = pytest.mark.parametrize(("path", "allow"), ALLOW.items())


@pytest.fixture
async def breakable_app(template_url: str, database: Database, storage: Storage) -> FastAPI:
    """An application of the test's own, which the test may break."""
    app = create_app(make_settings(template_url))
    replace_resources(app, database=database, storage=storage)
    return app


@pytest.fixture
async def breakable_client(breakable_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of `breakable_app` that gets a 500 response for an unexpected exception."""
    async with open_client(breakable_app) as client:
        yield client


def parse_methods(header: str) -> set[str]:
    """Return the methods in an Allow header, for example `{"GET", "HEAD"}`."""
    return set(header.split(", "))


@pytest.mark.parametrize("path", ["/nope", "/authors/1/2/3", "/authors//", "/Authors", "/redoc"])
async def test_unknown_path_returns_404(client: AsyncClient, path: str) -> None:
    for method in METHODS:
        response = await client.request(method, path)
        if method != "HEAD":
            check_problem(response, 404, "not-found")
        assert response.status_code == 404


@paths
async def test_unsupported_method_returns_405_with_supported_methods(
    client: AsyncClient, path: str, allow: str
) -> None:
    for method in set(METHODS) - parse_methods(allow):
        response = await client.request(method, path)
        if method != "HEAD":
            check_problem(response, 405, "method-not-allowed")
        assert response.status_code == 405
        assert parse_methods(response.headers["allow"]) == parse_methods(allow)
        assert ("accept-patch" in response.headers) == ("PATCH" in allow)


@paths
async def test_options_returns_204_with_supported_methods(
    client: AsyncClient, path: str, allow: str
) -> None:
    response = await client.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert parse_methods(response.headers["allow"]) == parse_methods(allow)
    if "PATCH" in allow:
        media_types = set(response.headers["accept-patch"].split(", "))
        assert media_types == {"application/json", "application/merge-patch+json"}


async def test_options_on_unknown_path_returns_404(client: AsyncClient) -> None:
    check_problem(await client.options("/nope"), 404, "not-found")


async def test_each_client_error_returns_its_problem(client: AsyncClient) -> None:
    author = await make_author(client)
    book = await make_book(client)
    user = await make_user(client)
    path = f"/authors/{author['id']}"
    json = {"Content-Type": "application/json"}
    body = {"name": "Ada", "email": user["email"], "password": "correct horse"}
    stale = {"If-Match": '"7"'}
    wrong = {"If-Match": "7"}
    large = b" " * (64 * 1024 + 1)
    check_problem(
        await client.post("/authors", content=b"{", headers=json), 400, "malformed-request"
    )
    check_problem(await client.get(f"/authors/{UNKNOWN_ID}"), 404, "not-found")
    check_problem(await client.put(path), 405, "method-not-allowed")
    check_problem(await client.delete(f"/authors/{book['author_id']}"), 409, "author-has-books")
    check_problem(await client.post("/users", json=body), 409, "email-taken")
    check_problem(await client.delete(path, headers=stale), 412, "precondition-failed")
    check_problem(
        await client.post("/authors", content=large, headers=json), 413, "payload-too-large"
    )
    check_problem(await client.post("/authors", content=b"{}"), 415, "unsupported-media-type")
    check_problem(await client.post("/authors", json={}), 422, "invalid-request")
    check_problem(await client.get("/authors", params={"size": "0"}), 422, "invalid-request")
    check_problem(await client.get("/authors/1"), 422, "invalid-request")
    check_problem(await client.delete(path, headers=wrong), 422, "invalid-request")


async def test_problem_contains_path_and_forbids_caching(client: AsyncClient) -> None:
    response = await client.get(f"/authors/{UNKNOWN_ID}?x=1")
    assert response.headers["cache-control"] == "no-store"
    assert field_error_locations(response) == [{"parameter": "x"}]
    assert response.json()["instance"] == f"/authors/{UNKNOWN_ID}"


@pytest.mark.parametrize("path", ["/nope%20here", "/n%C3%B6pe", "/nope%0Ax", "/a%3Fb"])
async def test_instance_is_percent_encoded_path(client: AsyncClient, path: str) -> None:
    # RFC 9457, 3.1.5: `instance` is a URI reference, so other characters stay percent-encoded.
    instance = check_problem(await client.get(path), 404, "not-found")["instance"]
    assert re.fullmatch(r"(?:[\w.~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+", instance, re.ASCII)
    assert unquote(instance) == unquote(path)


@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ("a/b", "/a~1b"),
        ("a~b", "/a~0b"),
        ("~1", "/~01"),
        ("/", "/~1"),
        ("", "/"),
        ("0", "/0"),
        ('a"b\\c\n', '/a"b\\c\n'),
        ("é😀", "/é😀"),
        ("-", "/-"),
    ],
)
async def test_pointer_to_unknown_field_is_escaped(
    client: AsyncClient, field: str, pointer: str
) -> None:
    response = await client.post("/authors", json={"name": "Ursula", field: 1})
    assert field_error_locations(response) == [{"pointer": pointer}]


async def test_long_path_and_names_are_truncated_to_documented_length(
    client: AsyncClient, document: Json
) -> None:
    schemas = document["components"]["schemas"]
    max_lengths = {
        name: next(o["maxLength"] for o in node.get("anyOf", [node]) if "maxLength" in o)
        for schema in ("Problem", "FieldError")
        for name, node in schemas[schema]["properties"].items()
        if name in {"instance", "pointer", "parameter"}
    }
    name = "x" * 8_000
    problem = check_problem(await client.get(f"/{name}"), 404, "not-found")
    assert len(problem["instance"]) <= max_lengths["instance"]
    [location] = field_error_locations(
        await client.post("/authors", json={"name": "Ursula", name * 3: 1})
    )
    assert len(location["pointer"]) <= max_lengths["pointer"]
    [location] = field_error_locations(await client.get("/authors", params={name: 1}))
    assert len(location["parameter"]) <= max_lengths["parameter"]


async def test_response_to_fields_with_long_names_is_small(client: AsyncClient) -> None:
    body = {f"{number}{'x' * 600}": 0 for number in range(100)}
    response = await client.post("/authors", json=body)
    field_error_locations(response)
    assert len(response.content) < 100_000


async def test_unexpected_exception_returns_500_without_cause_and_is_logged(
    breakable_client: AsyncClient, breakable_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("the secret cause")

    add_public_route(breakable_app, "/boom", fail, methods=["GET", "POST"])
    for method in ("GET", "POST"):
        response = await breakable_client.request(method, "/boom")
        problem = check_problem(response, 500, "internal-error")
        assert problem["instance"] == "/boom"
        assert "secret" not in response.text
        assert "RuntimeError" not in response.text
    # The log contains the cause.
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "the secret cause" in caplog.text


async def test_missing_resource_object_returns_500(
    breakable_client: AsyncClient, breakable_app: FastAPI
) -> None:
    replace_resources(breakable_app, database=None)
    for response in (
        await breakable_client.get("/authors"),
        await breakable_client.post("/authors", json={"name": "Ursula"}),
        await breakable_client.get("/readyz"),
    ):
        check_problem(response, 500, "internal-error")
    assert (await breakable_client.get("/livez")).status_code == 200


@pytest.fixture
async def unreachable_database() -> AsyncIterator[Database]:
    """A database on a port on which no server listens."""
    database = Database(make_settings(UNREACHABLE_DATABASE_URL))
    yield database
    await database.engine.dispose()


async def test_unreachable_database_returns_503(
    breakable_client: AsyncClient, breakable_app: FastAPI, unreachable_database: Database
) -> None:
    replace_resources(breakable_app, database=unreachable_database)
    for response in (
        await breakable_client.get("/authors"),
        await breakable_client.get(f"/authors/{UNKNOWN_ID}"),
        await breakable_client.post("/authors", json={"name": "Ursula"}),
        await breakable_client.patch(f"/authors/{UNKNOWN_ID}", json={"name": "Ursula"}),
        await breakable_client.delete(f"/authors/{UNKNOWN_ID}"),
        await breakable_client.get("/readyz"),
    ):
        check_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        assert "somebody" not in response.text
        assert "hunter2" not in response.text
        assert "127.0.0.1" not in response.text
    assert (await breakable_client.get("/livez")).status_code == 200


async def test_readiness_names_unreachable_database(
    breakable_client: AsyncClient, breakable_app: FastAPI, unreachable_database: Database
) -> None:
    replace_resources(breakable_app, database=unreachable_database)
    assert "database" in (await breakable_client.get("/readyz")).json()["detail"]


async def send_everywhere(client: AsyncClient, secret: str) -> list[Response]:
    """Send requests with a secret in every value that a client chooses, except names and paths."""
    author = await make_author(client)
    path, json = f"/authors/{author['id']}", {"Content-Type": "application/json"}
    user = {"name": "Ada", "email": "ada@example.com", "password": secret}
    await make_user(client)
    return [
        await client.post("/users", json=user),
        await client.post("/users", json=user | {"email": secret}),
        await client.post("/users", json=user | {"email": f"{secret}@x@y"}),
        await client.post("/users", json=user | {"password": secret * 9}),
        await client.post("/users", json=user | {"password": [secret]}),
        await client.post("/users", json=user | {"password": {"x": secret}}),
        await client.post("/users", json=user | {"name": secret * 9}),
        await client.post("/authors", json={"name": [secret], "dob": secret, "x": secret}),
        await client.post("/books", json={"title": "x", "author_id": secret}),
        await client.post("/authors", json=secret),
        await client.post("/authors", content=secret.encode(), headers=json),
        await client.post("/authors", content=b'{"name": "' + secret.encode(), headers=json),
        await client.post("/authors", content=b"{}", headers={"Content-Type": secret}),
        await client.post("/authors", content=b"{}", headers=json | {"Content-Encoding": secret}),
        await client.patch(path, json={"name": secret + "\0"}),
        await client.patch(path, json={}, headers={"If-Match": secret}),
        await client.patch(path, json={}, headers={"If-Match": f'"{secret}"'}),
        await client.get(path, headers={"If-None-Match": secret}),
        await client.get(path, headers={"Authorization": f"Bearer {secret}", "Cookie": secret}),
        *[
            await client.get("/authors", params={name: secret})
            for name in ("page", "size", "cursor", "count", "sort", "id", "created_from", "x")
        ],
        await client.get("/users", params={"email": secret}),
        await client.get("/nope", params={"x": secret}),
        await client.put("/authors", params={"x": secret}),
    ]


async def test_values_of_client_are_never_echoed(client: AsyncClient) -> None:
    secret = f"secret-{uuid4().hex}"
    for response in await send_everywhere(client, secret):
        if response.is_error:
            assert set(response.json()) >= PROBLEM_MEMBERS
        assert secret not in response.text
        # The Link header repeats the query of the request.
        other_headers = {name: value for name, value in response.headers.items() if name != "link"}
        assert secret not in str(other_headers)


async def test_values_of_client_are_never_logged(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    secret = f"secret-{uuid4().hex}"
    with caplog.at_level(logging.DEBUG):
        await send_everywhere(client, secret)
    service_records = [record for record in caplog.records if record.name.split(".")[0] != "httpx"]
    assert any(record.name == "app.access" for record in service_records)
    assert not [
        record
        for record in service_records
        if secret in create_log_formatter("json").format(record)
    ]


@pytest.mark.private_database
async def test_failed_statement_is_logged_without_its_parameters(
    breakable_client: AsyncClient,
    breakable_app: FastAPI,
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(secret: str) -> None:
        await database.reads.execute(text("SELECT missing(:secret)"), {"secret": secret})

    add_public_route(breakable_app, "/boom", fail)
    secret = f"secret-{uuid4().hex}"
    with caplog.at_level(logging.DEBUG):
        response = await breakable_client.get("/boom", params={"secret": secret})
    check_problem(response, 500, "internal-error")
    assert "missing" in caplog.text
    service_records = [record for record in caplog.records if record.name.split(".")[0] != "httpx"]
    assert not [
        record
        for record in service_records
        if secret in create_log_formatter("json").format(record)
    ]


async def test_disconnected_client_is_not_logged_as_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        pass

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/authors",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("test", 80),
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"100")],
    }
    await app(scope, receive, send)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
async def paths_with_get(client: AsyncClient, document: Json) -> list[str]:
    """Every path whose GET succeeds, including those that the OpenAPI document does not contain."""
    book, user = await make_book(client), await make_user(client)
    ids = {"authors": book["author_id"], "books": book["id"], "users": str(user["id"])}
    templates = [path for path, item in document["paths"].items() if "get" in item]
    # The URLs of documents are signed, so two responses differ.
    templates = [path for path in templates if not path.startswith("/documents/")]
    listed = [path.replace("{id}", ids.get(path.split("/")[1], "")) for path in templates]
    return [*listed, "/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"]


async def test_head_returns_headers_of_get_without_content(
    client: AsyncClient, paths_with_get: list[str]
) -> None:
    assert len(paths_with_get) >= 13
    for path in [*paths_with_get, f"/authors/{UNKNOWN_ID}", "/authors?size=0", "/nope"]:
        get_response = await client.get(path)
        head_response = await client.head(path)
        assert head_response.status_code == get_response.status_code
        assert head_response.content == b""
        for response in (get_response, head_response):
            # These two differ between any two requests.
            del response.headers["x-request-id"]
            response.headers.pop("data-as-of", None)
        # Both have the same Content-Length, because request ids have a fixed length.
        assert head_response.headers == get_response.headers


async def test_get_ignores_trailing_slash(client: AsyncClient, paths_with_get: list[str]) -> None:
    # Two responses of the change feed differ, because its cursors are encrypted.
    paths_with_get.remove("/changes")
    for path in paths_with_get:
        path_with_slash = f"{path}/".replace("//", "/")
        headers = {"X-Request-ID": "same"}
        response = await client.get(path, headers=headers)
        response_with_slash = await client.get(path_with_slash, headers=headers)
        assert response_with_slash.status_code == response.status_code
        assert response_with_slash.content == response.content


async def test_every_method_ignores_trailing_slash(client: AsyncClient) -> None:
    created = await client.post("/authors/", json={"name": "Ursula"})
    assert created.status_code == 201
    path = created.headers["location"]
    assert not path.endswith("/")
    assert (await client.head("/authors/")).status_code == 200
    assert (await client.options("/authors/")).status_code == 204
    assert (await client.patch(f"{path}/", json={"name": "U."})).json()["name"] == "U."
    assert (await client.get("/authors/?size=1")).json()["size"] == 1
    check_problem(await client.put(f"{path}/"), 405, "method-not-allowed")
    assert (await client.delete(f"{path}/")).status_code == 204


async def responses_of_every_kind(client: AsyncClient, headers: dict[str, str]) -> list[Response]:
    """Send requests with these headers that get every status and kind of content."""
    path = f"/authors/{(await make_author(client))['id']}"
    document = await make_document(client, content=b"text")
    return [
        await client.get("/livez", headers=headers),
        await client.post("/authors", json={"name": "Ursula"}, headers=headers),
        await client.get(path, headers=headers | {"If-None-Match": "*"}),
        await client.get("/", headers=headers),
        await client.get(f"/documents/{document['id']}/content", headers=headers),
        await client.get("/docs", headers=headers),
        await client.get("/openapi.json", headers=headers),
        await client.get("/static-offline-docs/swagger-ui.css", headers=headers),
        await client.get("/nope", headers=headers),
        await client.put("/authors", headers=headers),
        await client.options("/authors", headers=headers),
        await client.head("/authors", headers=headers),
        await client.post("/authors", headers=headers),
        await client.get("/authors?size=0", headers=headers),
        await client.get("/boom", headers=headers),
        await client.delete(path, headers=headers),
    ]


@pytest.fixture
async def failing_client(breakable_client: AsyncClient, breakable_app: FastAPI) -> AsyncClient:
    """A client of an application in which `/boom` raises an unexpected exception."""

    async def fail() -> None:
        raise RuntimeError

    add_public_route(breakable_app, "/boom", fail)
    return breakable_client


async def test_every_response_has_a_different_request_id(failing_client: AsyncClient) -> None:
    responses = await responses_of_every_kind(failing_client, {})
    statuses = {response.status_code for response in responses}
    assert statuses == {200, 201, 204, 304, 307, 404, 405, 415, 422, 500}
    ids = [response.headers.get_list("x-request-id") for response in responses]
    for request_id in ids:
        assert len(request_id) == 1
        assert re.fullmatch(r"[\x21-\x7e]{1,128}", request_id[0])
    assert len({request_id[0] for request_id in ids}) == len(responses)


async def test_every_response_repeats_request_id_of_client(failing_client: AsyncClient) -> None:
    for response in await responses_of_every_kind(
        failing_client, {"X-Request-ID": "from-the-proxy/7"}
    ):
        assert response.headers.get_list("x-request-id") == ["from-the-proxy/7"]
        if response.headers.get("content-type") == "application/problem+json" and response.content:
            assert response.json()["request_id"] == "from-the-proxy/7"


@pytest.mark.parametrize("sent", ["a", "!", "~", "x" * 128, '"<>&\\', "%00"])
async def test_request_id_of_visible_ascii_is_accepted(client: AsyncClient, sent: str) -> None:
    response = await client.get("/nope", headers={"X-Request-ID": sent})
    assert check_problem(response, 404, "not-found")["request_id"] == sent


@pytest.mark.parametrize("sent", [b"", b" ", b"a b", b"x" * 129, b"caf\xe9", b"a\tb", b"\x7f"])
async def test_invalid_request_id_is_replaced(client: AsyncClient, sent: bytes) -> None:
    response = await client.get("/livez", headers={b"X-Request-ID": sent})
    [request_id] = response.headers.get_list("x-request-id")
    assert request_id.encode() != sent
    assert re.fullmatch(r"[\x21-\x7e]{1,128}", request_id)
