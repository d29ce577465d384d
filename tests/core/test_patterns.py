"""What the document's patterns take is what the service takes, and no more."""

import re

import pytest
from httpx import AsyncClient

from tests.core.test_conditional import FOREIGN, LISTS, WRONG
from tests.support.factories import Json, make_author, make_document
from tests.support.problems import field_error_locations

TAGS = ("*", " * ", '"1"', 'W/"1"', *FOREIGN, *LISTS)
KEYS = ("a", "0" * 255, r'"\"\\"', '"' + r"\\" * 255 + '"', "a,b", "a\"'\\")
NO_KEYS = (
    "",
    '"a b"',
    '"',
    '""',
    '"a',
    "a b",
    "0" * 256,
    f'"{"0" * 256}"',
    "é",
    r'"\a"',
    "a\t",
    "a, b",
)


@pytest.fixture
async def document(client: AsyncClient) -> Json:
    found: Json = (await client.get("/openapi.json")).json()
    return found


def allowed(document: Json, path: str, method: str, header: str, value: str) -> bool:
    parameters = document["paths"][path][method]["parameters"]
    [schema] = [each["schema"] for each in parameters if each["name"] == header]
    assert schema["type"] == "string"
    return len(value) <= schema["maxLength"] and bool(re.fullmatch(schema["pattern"], value))


@pytest.mark.parametrize(("method", "header"), [("patch", "If-Match"), ("get", "If-None-Match")])
async def test_a_condition_is_what_the_document_says(
    client: AsyncClient, document: Json, method: str, header: str
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for value in (*TAGS, *WRONG):
        headers = {header.encode(): value.encode("latin-1")}
        body: Json | None = {} if method == "patch" else None
        answer = await client.request(method, path, headers=headers, json=body)
        assert (answer.status_code != 422) == (value in TAGS), value
        if value == value.strip(" \t"):  # no server sees the others as they were sent
            said = allowed(document, "/authors/{id}", method, header, value)
            assert said == (value in TAGS), value


@pytest.mark.parametrize("value", ["x" * 8192, f'"{"x" * 8191}"', f'"1", "{"x" * 8190}"'])
async def test_no_header_is_longer_than_the_document_says(client: AsyncClient, value: str) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for answer, header in (
        (await client.get(path, headers={"If-None-Match": value}), "If-None-Match"),
        (await client.delete(path, headers={"If-Match": value}), "If-Match"),
    ):
        assert field_error_locations(answer) == [{"header": header}]


@pytest.mark.private_database
async def test_a_key_is_what_the_document_says(client: AsyncClient, document: Json) -> None:
    for value in (*KEYS, *NO_KEYS):
        headers = {b"Idempotency-Key": value.encode("latin-1")}
        answer = await client.post("/authors", json={"name": "Ursula"}, headers=headers)
        assert (answer.status_code == 201) == (value in KEYS), (value, answer.text)
        said = allowed(document, "/authors", "post", "Idempotency-Key", value)
        assert said == (value in KEYS), value


async def test_a_password_without_nul_is_what_the_document_asks_for(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for name in ("UserCreate", "UserUpdate", "LogIn"):
        pattern = schemas[name]["properties"]["password"]["pattern"]
        assert re.fullmatch(pattern, "correct\nhorse")
        assert not re.fullmatch(pattern, "correct\0horse")


@pytest.mark.parametrize(
    ("kind", "right"),
    [
        ("text/plain", True),
        ('text/html; charset="utf-8";a=b', True),
        ("pdf", False),
        ("a/b c", False),
        ("text/html\r\nX: y", False),
        ("text/html\n", False),
        ("a/b;c", False),
        ("/", False),
    ],
)
async def test_a_content_type_is_what_the_document_says(
    client: AsyncClient, document: Json, kind: str, right: bool
) -> None:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    body = {"filename": "a.pdf", "content_type": kind, "size": 1}
    assert ((await client.post(path, json=body)).status_code == 201) == right
    schema = document["components"]["schemas"]["UploadCreate"]["properties"]["content_type"]
    assert bool(re.fullmatch(schema["pattern"], kind)) == right


async def test_a_sort_names_at_least_one_key_and_none_twice(document: Json) -> None:
    for path, item in document["paths"].items():
        for each in item.get("get", {}).get("parameters", []):
            if each["name"] == "sort":
                schema = each["schema"]
                assert (schema["minItems"], schema["uniqueItems"]) == (1, True), path
                assert "default" not in schema
