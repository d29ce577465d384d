"""Errors of every layer are problems; methods, trailing slashes and request ids on any path."""

import logging
import re
import socket
from collections.abc import AsyncIterator
from urllib.parse import unquote
from uuid import uuid4

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.core.observability import create_log_formatter
from app.core.storage import Storage
from app.main import create_app
from tests.authors.test_authors import NOBODY
from tests.conftest import make_settings
from tests.support.factories import make_author, make_book, make_user
from tests.support.problems import PROBLEM_MEMBERS, check_problem, field_error_locations
from tests.support.resources import add_public_route, replace_resources

ITEM = "DELETE, GET, HEAD, OPTIONS, PATCH"
COLLECTION = "GET, HEAD, OPTIONS, POST"
READ_ONLY = "GET, HEAD, OPTIONS"
ALLOW = {
    "/authors": COLLECTION,
    f"/authors/{NOBODY}": ITEM,
    f"/authors/{NOBODY}/books": READ_ONLY,
    "/books": COLLECTION,
    f"/books/{NOBODY}": ITEM,
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
    "/static-offline-docs/swagger-ui.css": READ_ONLY,
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"]

paths = pytest.mark.parametrize(("path", "allow"), ALLOW.items())


@pytest.fixture
async def private_app(template_url: str, database: Database, storage: Storage) -> FastAPI:
    """An application that only this test uses and may break."""
    app = create_app(make_settings(template_url))
    replace_resources(app, database=database, storage=storage)
    return app


@pytest.fixture
async def private(private_app: FastAPI) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(private_app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def methods_in(header: str) -> set[str]:
    return set(header.split(", "))


@pytest.mark.parametrize("path", ["/nope", "/authors/1/2/3", "/authors//", "/Authors", "/redoc"])
async def test_an_unknown_path_is_not_found(client: AsyncClient, path: str) -> None:
    for method in METHODS:
        answer = await client.request(method, path)
        if method != "HEAD":
            check_problem(answer, 404, "not-found")
        assert answer.status_code == 404


@paths
async def test_a_method_that_a_path_does_not_know_is_told_all_that_it_does(
    client: AsyncClient, path: str, allow: str
) -> None:
    for method in set(METHODS) - methods_in(allow):
        answer = await client.request(method, path)
        if method != "HEAD":
            check_problem(answer, 405, "method-not-allowed")
        assert answer.status_code == 405
        assert methods_in(answer.headers["allow"]) == methods_in(allow)
        assert ("accept-patch" in answer.headers) == ("PATCH" in allow)


@paths
async def test_options_answers_what_a_path_allows(
    client: AsyncClient, path: str, allow: str
) -> None:
    answer = await client.options(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert methods_in(answer.headers["allow"]) == methods_in(allow)
    if "PATCH" in allow:
        media_types = set(answer.headers["accept-patch"].split(", "))
        assert media_types == {"application/json", "application/merge-patch+json"}


async def test_options_on_an_unknown_path_is_not_found(client: AsyncClient) -> None:
    check_problem(await client.options("/nope"), 404, "not-found")


async def test_each_client_error_is_a_problem(client: AsyncClient) -> None:
    author = await make_author(client)
    book = await make_book(client)
    user = await make_user(client)
    path = f"/authors/{author['id']}"
    json = {"Content-Type": "application/json"}
    body = {"name": "Ada", "email": user["email"], "password": "correct horse"}
    stale = {"If-Match": '"7"'}
    wrong = {"If-Match": "7"}
    large = b" " * (1024 * 1024 + 1)
    check_problem(
        await client.post("/authors", content=b"{", headers=json), 400, "malformed-request"
    )
    check_problem(await client.get(f"/authors/{NOBODY}"), 404, "not-found")
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


async def test_a_problem_says_where_it_happened_and_may_not_be_kept(client: AsyncClient) -> None:
    answer = await client.get(f"/authors/{NOBODY}?x=1")
    assert answer.headers["cache-control"] == "no-store"
    problem = field_error_locations(answer)
    assert problem == [{"parameter": "x"}]
    assert answer.json()["instance"] == f"/authors/{NOBODY}"


@pytest.mark.parametrize("path", ["/nope%20here", "/n%C3%B6pe", "/nope%FF", "/nope%0Ax", "/a%3Fb"])
async def test_the_instance_is_a_uri_reference(client: AsyncClient, path: str) -> None:
    # RFC 9457, 3.1.5: so blanks, controls and other alphabets stay percent-encoded.
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
async def test_a_json_pointer_escapes_what_it_must(
    client: AsyncClient, field: str, pointer: str
) -> None:
    answer = await client.post("/authors", json={"name": "Ursula", field: 1})
    assert field_error_locations(answer) == [{"pointer": pointer}]


async def test_a_problem_keeps_to_its_documented_length(client: AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    longest = {
        name: next(o["maxLength"] for o in node.get("anyOf", [node]) if "maxLength" in o)
        for schema in ("Problem", "FieldError")
        for name, node in schemas[schema]["properties"].items()
        if name in {"instance", "pointer", "parameter"}
    }
    name = "x" * 8_000
    problem = check_problem(await client.get(f"/{name}"), 404, "not-found")
    assert len(problem["instance"]) <= longest["instance"]
    [fault] = field_error_locations(
        await client.post("/authors", json={"name": "Ursula", name * 3: 1})
    )
    assert len(fault["pointer"]) <= longest["pointer"]
    [fault] = field_error_locations(await client.get("/authors", params={name: 1}))
    assert len(fault["parameter"]) <= longest["parameter"]


async def test_a_thousandfold_mistake_is_not_answered_with_megabytes(client: AsyncClient) -> None:
    body = {f"{number:x}": 0 for number in range(20_000)}
    answer = await client.post("/authors", json=body)
    field_error_locations(answer)
    assert len(answer.content) < 100_000


async def test_a_failure_of_ours_shows_no_cause(
    private: AsyncClient, private_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("the secret cause")

    add_public_route(private_app, "/boom", fail, methods=["GET", "POST"])
    for method in ("GET", "POST"):
        answer = await private.request(method, "/boom")
        problem = check_problem(answer, 500, "internal-error")
        assert problem["instance"] == "/boom"
        assert "secret" not in answer.text
        assert "RuntimeError" not in answer.text
    # The log has what the answer has not.
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "the secret cause" in caplog.text


async def test_a_broken_part_of_ours_is_an_internal_error(
    private: AsyncClient, private_app: FastAPI
) -> None:
    replace_resources(private_app, database=None)
    for answer in (
        await private.get("/authors"),
        await private.post("/authors", json={"name": "Ursula"}),
        await private.get("/readyz"),
    ):
        check_problem(answer, 500, "internal-error")
    assert (await private.get("/livez")).status_code == 200


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def no_database() -> AsyncIterator[Database]:
    """A database where nobody listens."""
    url = f"postgresql://nobody:password@127.0.0.1:{closed_port()}/nowhere"
    database = Database(make_settings(url))
    yield database
    await database.engine.dispose()


async def test_a_database_that_is_not_there_is_unavailable(
    private: AsyncClient, private_app: FastAPI, no_database: Database
) -> None:
    replace_resources(private_app, database=no_database)
    for answer in (
        await private.get("/authors"),
        await private.get(f"/authors/{NOBODY}"),
        await private.post("/authors", json={"name": "Ursula"}),
        await private.patch(f"/authors/{NOBODY}", json={"name": "Ursula"}),
        await private.delete(f"/authors/{NOBODY}"),
        await private.get("/readyz"),
    ):
        check_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "nobody" not in answer.text
        assert "127.0.0.1" not in answer.text
    assert (await private.get("/livez")).status_code == 200


async def test_readiness_says_which_part_does_not_answer(
    private: AsyncClient, private_app: FastAPI, no_database: Database
) -> None:
    replace_resources(private_app, database=no_database)
    assert "database" in (await private.get("/readyz")).json()["detail"]


async def send_everywhere(client: AsyncClient, secret: str) -> list[Response]:
    """A secret in every place where a client can put one, save names and the path."""
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


async def test_what_a_client_sends_is_never_echoed(client: AsyncClient) -> None:
    secret = f"secret-{uuid4().hex}"
    for answer in await send_everywhere(client, secret):
        if answer.is_error:
            assert set(answer.json()) >= PROBLEM_MEMBERS
        assert secret not in answer.text
        named = {name: value for name, value in answer.headers.items() if name != "link"}
        assert secret not in str(named)


async def test_what_a_client_sends_is_never_logged(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    secret = f"secret-{uuid4().hex}"
    with caplog.at_level(logging.DEBUG):
        await send_everywhere(client, secret)
    ours = [record for record in caplog.records if record.name.split(".")[0] != "httpx"]
    assert any(record.name == "app.access" for record in ours)
    assert not [record for record in ours if secret in create_log_formatter("json").format(record)]


@pytest.mark.private_database
async def test_a_failing_statement_is_logged_without_its_values(
    private: AsyncClient, private_app: FastAPI, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(secret: str) -> None:
        await database.reads.execute(text("SELECT missing(:secret)"), {"secret": secret})

    add_public_route(private_app, "/boom", fail)
    secret = f"secret-{uuid4().hex}"
    with caplog.at_level(logging.DEBUG):
        answer = await private.get("/boom", params={"secret": secret})
    check_problem(answer, 500, "internal-error")
    assert "missing" in caplog.text
    ours = [record for record in caplog.records if record.name.split(".")[0] != "httpx"]
    assert not [record for record in ours if secret in create_log_formatter("json").format(record)]


async def test_a_client_that_goes_away_is_no_failure_of_ours(
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
async def getable(client: AsyncClient) -> list[str]:
    """Every path that answers GET with a success, from the document and beside it."""
    book, user = await make_book(client), await make_user(client)
    ids = {"authors": book["author_id"], "books": book["id"], "users": str(user["id"])}
    document = (await client.get("/openapi.json")).json()
    named = [path for path, item in document["paths"].items() if "get" in item]
    named = [path for path in named if not path.startswith("/documents/")]  # URLs of a moment
    listed = [path.replace("{id}", ids.get(path.split("/")[1], "")) for path in named]
    return [*listed, "/", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"]


async def test_head_is_get_without_content_on_every_path(
    client: AsyncClient, getable: list[str]
) -> None:
    assert len(getable) >= 13
    for path in [*getable, f"/authors/{NOBODY}", "/authors?size=0", "/nope"]:
        got, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        for answer in (got, head):
            del answer.headers["x-request-id"]
        # But for the request id in a problem they are the same length to the byte.
        assert head.headers == got.headers


async def test_a_trailing_slash_is_served_on_every_path(
    client: AsyncClient, getable: list[str]
) -> None:
    for path in getable:
        paths, same = (path, f"{path}/".replace("//", "/")), {"X-Request-ID": "same"}
        plain, slashed = [await client.get(each, headers=same) for each in paths]
        assert slashed.status_code == plain.status_code
        assert slashed.content == plain.content


async def test_a_trailing_slash_is_served_to_every_method(client: AsyncClient) -> None:
    made = await client.post("/authors/", json={"name": "Ursula"})
    assert made.status_code == 201
    path = made.headers["location"]
    assert not path.endswith("/")
    assert (await client.head("/authors/")).status_code == 200
    assert (await client.options("/authors/")).status_code == 204
    assert (await client.patch(f"{path}/", json={"name": "U."})).json()["name"] == "U."
    assert (await client.get("/authors/?size=1")).json()["size"] == 1
    check_problem(await client.put(f"{path}/"), 405, "method-not-allowed")
    assert (await client.delete(f"{path}/")).status_code == 204


async def every_kind_of_answer(client: AsyncClient, headers: dict[str, str]) -> list[Response]:
    path = f"/authors/{(await make_author(client))['id']}"
    return [
        await client.get("/livez", headers=headers),
        await client.post("/authors", json={"name": "Ursula"}, headers=headers),
        await client.get(path, headers=headers | {"If-None-Match": "*"}),
        await client.get("/", headers=headers),
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
async def failing(private: AsyncClient, private_app: FastAPI) -> AsyncClient:
    """A client of an application where `/boom` fails."""

    async def fail() -> None:
        raise RuntimeError

    add_public_route(private_app, "/boom", fail)
    return private


async def test_every_answer_has_a_request_id_of_its_own(failing: AsyncClient) -> None:
    answers = await every_kind_of_answer(failing, {})
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 201, 204, 304, 307, 404, 405, 415, 422, 500}
    ids = [answer.headers.get_list("x-request-id") for answer in answers]
    assert all(len(given) == 1 and re.fullmatch(r"[\x21-\x7e]{1,128}", given[0]) for given in ids)
    assert len({given[0] for given in ids}) == len(answers)


async def test_every_answer_repeats_the_request_id_that_was_sent(failing: AsyncClient) -> None:
    for answer in await every_kind_of_answer(failing, {"X-Request-ID": "from-the-proxy/7"}):
        assert answer.headers.get_list("x-request-id") == ["from-the-proxy/7"]
        if answer.headers.get("content-type") == "application/problem+json" and answer.content:
            assert answer.json()["request_id"] == "from-the-proxy/7"


@pytest.mark.parametrize("sent", ["a", "!", "~", "x" * 128, '"<>&\\', "%00"])
async def test_a_request_id_of_visible_ascii_is_taken(client: AsyncClient, sent: str) -> None:
    answer = await client.get("/nope", headers={"X-Request-ID": sent})
    assert check_problem(answer, 404, "not-found")["request_id"] == sent


@pytest.mark.parametrize("sent", [b"", b" ", b"a b", b"x" * 129, b"caf\xe9", b"a\tb", b"\x7f"])
async def test_another_request_id_is_replaced(client: AsyncClient, sent: bytes) -> None:
    answer = await client.get("/livez", headers={b"X-Request-ID": sent})
    [made] = answer.headers.get_list("x-request-id")
    assert made.encode() != sent
    assert re.fullmatch(r"[\x21-\x7e]{1,128}", made)
