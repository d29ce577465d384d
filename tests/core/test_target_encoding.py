"""Paths and queries that are not percent-encoded UTF-8. Each request for one is 400."""

import json

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from tests.support.factories import make_author
from tests.support.problems import check_problem
from tests.support.protocol_server import serving_app
from tests.support.raw_requests import send_raw_request
from tests.support.rows import SEARCH_WORDS

# Texts that httpx sends unchanged.
WRONG_BYTES = {
    "Latin-1": "caf%E9",
    "a character that is cut off": "caf%C3",
    "a lone continuation byte": "%A9",
    "a slash in two bytes": "%C0%AF",
    "NUL in two bytes": "%C0%80",
    "a surrogate": "%ED%A0%80",
    "a pair of surrogates": "%ED%A0%BD%ED%B8%80",
    "a character after the last one": "%F4%90%80%80",
    "a byte that UTF-8 never contains": "%FF",
    "UTF-16": "%FF%FEa%00",
}
# Escapes that httpx would correct.
MALFORMED_ESCAPES = ["%", "100%", "%zz", "%4", "%E", "%%41", "%u00E9", "a%2"]
every_wrong_text = pytest.mark.parametrize("text", WRONG_BYTES.values(), ids=WRONG_BYTES)


@pytest.mark.parametrize("path", SEARCH_WORDS)
@every_wrong_text
async def test_query_value_that_is_not_utf8_returns_400(
    client: AsyncClient, path: str, text: str
) -> None:
    problem = check_problem(await client.get(f"{path}?q={text}"), 400, "malformed-request")
    assert "UTF-8" in problem["detail"]


@every_wrong_text
async def test_query_name_that_is_not_utf8_returns_400(client: AsyncClient, text: str) -> None:
    check_problem(await client.get(f"/authors?{text}=1"), 400, "malformed-request")


@pytest.mark.parametrize("parameter", ["page", "sort", "cursor", "id", "count", "created_from"])
async def test_any_parameter_that_is_not_utf8_returns_400(
    client: AsyncClient, parameter: str
) -> None:
    response = await client.get(f"/authors?{parameter}=%E9")
    check_problem(response, 400, "malformed-request")


@pytest.mark.parametrize(
    "path", ["/livez", "/docs", "/openapi.json", "/", "/nope", "/tokens", "/authors/"]
)
async def test_query_that_is_not_utf8_returns_400_for_every_kind_of_route(
    client: AsyncClient, path: str
) -> None:
    check_problem(await client.get(f"{path}?q=%E9"), 400, "malformed-request")


async def test_write_with_query_that_is_not_utf8_changes_nothing(client: AsyncClient) -> None:
    author = await make_author(client)
    path = f"/authors/{author['id']}"
    for response in (
        await client.post("/authors?x=%E9", json={"name": "x"}),
        await client.patch(f"{path}?x=%E9", json={"name": "x"}),
        await client.delete(f"{path}?x=%E9"),
    ):
        check_problem(response, 400, "malformed-request")
    assert (await client.get("/authors")).json()["items"] == [author]


@every_wrong_text
@pytest.mark.parametrize("prefix", ["/", "/authors/", "/users/", "/static-offline-docs/"])
async def test_path_that_is_not_utf8_returns_400(
    client: AsyncClient, prefix: str, text: str
) -> None:
    problem = check_problem(await client.get(prefix + text), 400, "malformed-request")
    assert "path" in problem["detail"]


async def test_target_with_malformed_escape_returns_400(app: FastAPI) -> None:
    async with serving_app(app) as origin:
        for escape in MALFORMED_ESCAPES:
            for target in (f"/authors?q={escape}", f"/authors?{escape}=1", f"/authors/{escape}"):
                request = f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"
                response = await send_raw_request(origin, request.encode())
                assert response.status == 400, target
                assert json.loads(response.body)["type"].endswith(":malformed-request")


@pytest.mark.parametrize(
    ("query", "searched"),
    [
        ("caf%C3%A9", "café"),
        ("caf%c3%a9", "café"),
        ("a+b", "a b"),
        ("a%20b", "a b"),
        ("a%2Bb", "a+b"),
        ("100%25", "100%"),
        ("%F0%9F%93%9A", "📚"),
        ("%EF%BF%BD", "\ufffd"),
        ("%EF%BB%BFa", "\ufeffa"),
    ],
)
async def test_query_in_utf8_is_decoded(client: AsyncClient, query: str, searched: str) -> None:
    response = await client.get(f"/authors?q={query}")
    assert response.status_code == 200
    encoded_by_client = await client.get("/authors", params={"q": searched})
    assert response.json() == encoded_by_client.json()
