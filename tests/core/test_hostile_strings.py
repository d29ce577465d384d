"""Hostile strings in every place that the OpenAPI document has for one: kept exactly, or refused.

The places come from the document, so that a new field is tried as well.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.documents.schemas import clean_filename
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
    "a second answer": "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
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
    "100,000 letters": "a" * 100_000,
}
UNTOLD = "said nowhere"  # where an answer may say what was sent
hostile = pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())


@pytest.fixture
async def document(client: AsyncClient) -> Json:
    found: Json = (await client.get("/openapi.json")).json()
    return found


def refused(answer: Response, value: str) -> bool:
    """Whether it is a problem, which does not say again what it is about; 500 is neither."""
    assert answer.status_code < 500, answer.text
    if not answer.is_client_error:
        return False
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) - {"errors"} == PROBLEM_MEMBERS
    del problem["instance"]
    assert len(value) < 9 or value not in json.dumps(problem, ensure_ascii=False)
    assert "x-injected" not in answer.headers
    return True


def strings(document: Json, schema: Json, example: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The places of a body's strings, of those that it need not have as well."""
    schema = merge_reference(document, schema)
    for option in schema.get("anyOf", ()):
        yield from strings(document, option, example, *path)
    if schema.get("type") == "string":
        yield path
    for name, each in schema.get("properties", {}).items():
        yield from strings(document, each, example, *path, name)
    if "items" in schema:
        yield from strings(document, schema["items"], example, *path, 0)


def replaced(body: Any, path: tuple[Any, ...], value: str) -> Any:
    """The body with another value in a place."""
    if not path:
        return value
    head, *rest = path
    # A list that the example leaves out has no items.
    items = body or [None]
    inner = items[head] if isinstance(head, int) else body.get(head)
    changed = replaced(inner, tuple(rest), value)
    return [changed] if isinstance(head, int) else {**body, head: changed}


def found(body: Any, path: tuple[Any, ...]) -> Any:
    for each in path:
        body = body[each]
    return body


def kept_as(name: str, value: str) -> str | None:
    """What is told again of a string; all but these two are told as they were sent."""
    return {"email": normalize_email, "filename": clean_filename}.get(name, str)(value)


@pytest.fixture
async def ids(client: AsyncClient) -> dict[str, Any]:
    """Of something of every kind, by the first part of its path."""
    author, user = await make_author(client), await make_user(client, "somebody@example.com")
    book, document = await make_book(client, author_id=author["id"]), await make_document(client)
    rows = {"authors": author, "books": book, "users": user, "documents": document}
    for case in GENERATED_CASES:
        rows[case.path[1:]] = await create_row(client, case)
    return {name: row["id"] for name, row in rows.items()}


@hostile
async def test_a_string_of_a_body_is_kept_or_refused(
    client: AsyncClient, document: Json, ids: dict[str, Any], value: str
) -> None:
    tried = 0
    for template, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            example = json.loads(
                json.dumps(content["example"]).replace(
                    "0199b2f4-c0de-7000-a000-000000000000", ids["authors"]
                )
            )
            path = template.format(id=ids.get(template.split("/")[1]))
            for place in strings(document, content["schema"], example):
                tried += 1
                body = replaced(example, place, value)
                answer = await client.request(method, path, json=body)
                if not refused(answer, value):
                    await assert_kept(client, answer, place, value)
    assert tried >= 20


async def assert_kept(
    client: AsyncClient, answer: Response, place: tuple[Any, ...], value: str
) -> None:
    """What was made or changed says so now and later; it is removed again."""
    told, name = answer.json(), str(place[-1])
    if "password" in name or "parts" in told:  # what nobody is told
        assert value not in answer.text or len(value) < 9
    else:
        assert found(told, place) == kept_as(name, value)
        again = await client.get(answer.headers.get("location", answer.request.url.path))
        if again.status_code == 200:
            assert found(again.json(), place) == kept_as(name, value)
    if "location" in answer.headers and "parts" not in told:
        assert (await client.delete(answer.headers["location"])).status_code == 204


@hostile
async def test_a_string_of_a_form_is_kept_or_refused(client: AsyncClient, value: str) -> None:
    document = f"/documents/{(await make_document(client))['id']}"
    raw = value.encode()
    quoted = raw.replace(b"\\", b"\\\\").replace(b'"', b"%22")
    for method, path in (("POST", "/documents"), ("PATCH", document)):
        answer = await send_form(client, method, path, form_field("name", raw))
        if not refused(answer, value):
            there = await client.get(answer.headers.get("location", document))
            assert answer.json()["name"] == there.json()["name"] == value
        answer = await send_form(
            client, method, path, form_field("name", "x"), form_file(b"x", quoted)
        )
        if not refused(answer, value) and answer.json()["filename"]:
            there = await client.get(answer.headers.get("location", document))
            assert answer.json()["filename"] == there.json()["filename"]
            if value.isalnum():
                assert answer.json()["filename"] == value[-255:]
        for head in (
            b'Content-Disposition: form-data; name="' + quoted + b'"',
            b"Content-Disposition: " + raw,
            b"Content-Disposition: form-data; name=name; filename*=UTF-8''" + raw,
            b'Content-Disposition: form-data; name="name"\r\nContent-Type: ' + raw,
            b'Content-Disposition: form-data; name="name"\r\nContent-Transfer-Encoding: ' + raw,
            b'Content-Disposition: form-data; name="name"\r\n' + raw,
        ):
            refused(await send_form(client, method, path, form_part(head, content=b"x")), UNTOLD)
        for kind in (b"multipart/form-data; boundary=" + raw, b"multipart/form-data; " + raw, raw):
            headers = {b"Content-Type": kind}
            refused(await client.request(method, path, content=raw, headers=headers), value)


@hostile
async def test_a_string_of_a_query_is_taken_or_refused(
    client: AsyncClient, document: Json, value: str
) -> None:
    value = value[:20_000]  # the client takes no longer URL
    author = await make_author(client)
    for template, item in document["paths"].items():
        for parameter in item.get("get", {}).get("parameters", ()):
            if parameter["in"] == "query":
                path = template.format(id=author["id"])
                query = {parameter["name"]: value}
                refused(await client.get(path, params=query), value)
    assert refused(await client.get("/authors", params={value: "x"}), UNTOLD)


@hostile
async def test_a_string_of_a_path_is_no_id(client: AsyncClient, document: Json, value: str) -> None:
    value = value[:20_000]
    for template, item in document["paths"].items():
        for method in item if value and "{" in template else ():
            for written in {quote(value, safe=""), quote(value)}:
                path = template.format(id=written, upload_id=written)
                assert refused(await client.request(method, path), UNTOLD), path


# What a request may say of itself, and no server in front has taken out.
HEADERS = [
    *("Accept", "Accept-Encoding", "Authorization", "Content-Encoding", "Content-Length"),
    *("Content-Type", "Cookie", "Expect", "Forwarded", "Host", "Idempotency-Key", "If-Match"),
    *("If-Modified-Since", "If-None-Match", "Origin", "Range", "Referer", "Traceparent"),
    *("Tracestate", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Prefix"),
    *("X-Forwarded-Proto", "X-HTTP-Method-Override", "X-Request-ID", "X-Unknown"),
]


@hostile
async def test_a_string_of_a_header_is_taken_or_refused(client: AsyncClient, value: str) -> None:
    author = await make_author(client)
    path = f"/authors/{author['id']}"
    for name in HEADERS:
        headers = {name.encode(): value.encode()}
        body = {b"Content-Type": b"application/json"} | headers
        for answer in (
            await client.request("DELETE" if name == "If-Match" else "GET", path, headers=headers),
            await client.post("/authors", content=b'{"name": "Ursula"}', headers=body),
        ):
            refused(answer, value)
            sent = name == "X-Request-ID" and value.isascii() and value.isprintable()
            if not (sent and 0 < len(value) <= 128 and " " not in value):
                assert answer.headers["x-request-id"] != value


@hostile
async def test_a_string_of_a_log_in_is_kept_or_refused(
    client: AsyncClient, database: Database, value: str
) -> None:
    await add_callers(database, PASSWORD_HASH)
    form = {"username": email_of_caller("owner"), "password": PASSWORD}
    without_effect = dict.fromkeys(("scope", "client_id", "client_secret"), value)
    for changed in ({"username": value}, {"grant_type": value}, {value: "x"}):
        answer = await client.post("/tokens", data=form | changed)
        assert refused(answer, UNTOLD) or not value  # an empty field of a form is none
    answer = await client.post("/tokens", data=form | without_effect | {"name": value})
    if not refused(answer, value) and value:
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        tokens = (await client.get("/tokens", headers=headers)).json()["items"]
        assert value in {token["name"] for token in tokens}
