"""The service accepts exactly what the patterns of the OpenAPI document match."""

import re

import pytest
from httpx import AsyncClient

from tests.support.entity_tags import LISTS_WITH_CURRENT_TAG, MALFORMED_TAGS, OTHER_TAGS
from tests.support.factories import Json, make_author, make_document
from tests.support.problems import field_error_locations

VALID_TAGS = ("*", " * ", '"1"', 'W/"1"', *OTHER_TAGS, *LISTS_WITH_CURRENT_TAG)
VALID_KEYS = ("a", "0" * 255, r'"\"\\"', '"' + r"\\" * 255 + '"', "a,b", "a\"'\\")
INVALID_KEYS = (
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


def schema_allows(document: Json, path: str, method: str, header: str, value: str) -> bool:
    """Return whether the documented schema of a request header allows a value."""
    parameters = document["paths"][path][method]["parameters"]
    [schema] = [parameter["schema"] for parameter in parameters if parameter["name"] == header]
    assert schema["type"] == "string"
    return len(value) <= schema["maxLength"] and bool(re.fullmatch(schema["pattern"], value))


@pytest.mark.parametrize(("method", "header"), [("patch", "If-Match"), ("get", "If-None-Match")])
async def test_condition_is_accepted_if_documented_pattern_matches(
    client: AsyncClient, document: Json, method: str, header: str
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for value in (*VALID_TAGS, *MALFORMED_TAGS):
        headers = {header.encode(): value.encode("latin-1")}
        body: Json | None = {} if method == "patch" else None
        response = await client.request(method, path, headers=headers, json=body)
        assert (response.status_code != 422) == (value in VALID_TAGS), value
        if value == value.strip(" \t"):  # servers strip blanks around a value
            is_documented = schema_allows(document, "/authors/{id}", method, header, value)
            assert is_documented == (value in VALID_TAGS), value


@pytest.mark.parametrize("value", ["x" * 8192, f'"{"x" * 8191}"', f'"1", "{"x" * 8190}"'])
async def test_condition_longer_than_documented_returns_422(
    client: AsyncClient, value: str
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for response, header in (
        (await client.get(path, headers={"If-None-Match": value}), "If-None-Match"),
        (await client.delete(path, headers={"If-Match": value}), "If-Match"),
    ):
        assert field_error_locations(response) == [{"header": header}]


@pytest.mark.private_database
async def test_idempotency_key_is_accepted_if_documented_pattern_matches(
    client: AsyncClient, document: Json
) -> None:
    for value in (*VALID_KEYS, *INVALID_KEYS):
        headers = {b"Idempotency-Key": value.encode("latin-1")}
        response = await client.post("/authors", json={"name": "Ursula"}, headers=headers)
        assert (response.status_code == 201) == (value in VALID_KEYS), (value, response.text)
        is_documented = schema_allows(document, "/authors", "post", "Idempotency-Key", value)
        assert is_documented == (value in VALID_KEYS), value


async def test_documented_password_pattern_excludes_nul(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for name in ("UserCreate", "UserUpdate", "LoginForm"):
        pattern = schemas[name]["properties"]["password"]["pattern"]
        assert re.fullmatch(pattern, "correct\nhorse")
        assert not re.fullmatch(pattern, "correct\0horse")


@pytest.mark.parametrize(
    ("filename", "is_accepted"),
    [
        ("a.pdf", True),
        ("a" * 255, True),
        ("a" * 256, False),
        (f"{'folder/' * 100}a.pdf", True),
        (f"{'folder/' * 4_682}a.pdf", False),
        ("", False),
    ],
    ids=["short", "longest", "too long", "path", "path that is too long", "empty"],
)
async def test_filename_is_accepted_if_documented_schema_matches(
    client: AsyncClient, document: Json, filename: str, is_accepted: bool
) -> None:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    response = await client.post(path, json={"filename": filename, "size": 1})
    assert (response.status_code == 201) == is_accepted
    schema = document["components"]["schemas"]["AnnouncedFile"]["properties"]["filename"]
    has_documented_length = schema["minLength"] <= len(filename) <= schema["maxLength"]
    is_documented = has_documented_length and bool(re.fullmatch(schema["pattern"], filename))
    assert is_documented == is_accepted


async def test_documented_sort_requires_distinct_keys(document: Json) -> None:
    for path, item in document["paths"].items():
        for parameter in item.get("get", {}).get("parameters", []):
            if parameter["name"] == "sort":
                schema = parameter["schema"]
                assert (schema["minItems"], schema["uniqueItems"]) == (1, True), path
                assert "default" not in schema
