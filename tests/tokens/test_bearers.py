"""What counts as a token in a request, and what one costs."""

import re
from typing import Any
from zlib import crc32

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.tokens import secret
from tests.support.access_table import CHALLENGE, INVALID_TOKEN_CHALLENGE
from tests.support.accounts import bearer_headers
from tests.support.callers import (
    AUTHOR_ID,
    BOOK_ID,
    DOCUMENT_ID,
    TOKEN_IDS,
    TOKENS,
    USER_IDS,
    add_callers,
    add_resources,
    change_hex_digit,
    set_anonymous_access,
)
from tests.support.isolation import Cleaner
from tests.support.problems import check_problem, field_error_locations
from tests.support.rows import execute, select_values

TOKEN = TOKENS["owner"]
BASIC = "Basic YWRhOmNvcnJlY3Q="
NO_TOKEN = [BASIC, "Digest x", f"Token {TOKEN}", TOKEN, f"Basic Bearer {TOKEN}", ""]
NO_VALID_TOKEN = [
    "Bearer",
    "Bearer ",
    "Bearer   ",
    f"Bearer{TOKEN}",
    f"Bearer: {TOKEN}",
    f"Bearer\t{TOKEN}",
    f"Bearer \t{TOKEN}",
    f"Bearer Bearer {TOKEN}",
    f"Bearer {TOKEN} {TOKEN}",
    f"Bearer {TOKEN}, Bearer {TOKEN}",
    f"Bearer {TOKEN}, {BASIC}",
    f'Bearer "{TOKEN}"',
    f"Bearer {TOKEN},",
    f"Bearer {TOKEN}0",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN.upper()}",
    f"Bearer {TOKEN.removeprefix(secret.TOKEN_PREFIX)}",
    "Bearer null",
    "Bearer \x00",
    "Bearer пароль".encode().decode("latin-1"),
    f"Bearer \xa0{TOKEN}",
    f"Bearer {TOKEN}\x85",
    f"Bearer {TOKEN}'; DROP TABLE tokens; --",
]
ZEROES = "0" * 60_000
RUBBISH = {
    "letters": "x" * 60_000,
    "blanks": " " * 60_000,
    "prefixes": secret.TOKEN_PREFIX * (60_000 // len(secret.TOKEN_PREFIX)),
    "digits": secret.TOKEN_PREFIX + ZEROES,
    "digits and their checksum": f"{secret.TOKEN_PREFIX}{ZEROES}{crc32(ZEROES.encode()):08x}",
}


@pytest.fixture(autouse=True)
async def people(database: Database) -> None:
    await add_callers(database)
    await add_resources(database, "owner")


@pytest.fixture
def sent(statements: list[str]) -> Any:
    """Takes the statements that were sent since it was asked last."""

    def taken() -> list[str]:
        found = statements.copy()
        statements.clear()
        return found

    return taken


def named(value: object) -> str:
    """What is tried, the same in every process: the digits of a token are not."""
    return re.sub("[0-9A-Fa-f]{70,}", "T", repr(value))


# What is a token


@pytest.mark.parametrize("before", ["Bearer ", "bearer ", "BEARER ", "bEARER ", "Bearer    "])
@pytest.mark.parametrize("after", ["", "  "])
async def test_the_scheme_is_of_any_case_and_blanks_are_of_any_number(
    client: AsyncClient, before: str, after: str
) -> None:
    headers = {"Authorization": f"{before}{TOKEN}{after}"}
    response = await client.get("/users/me", headers=headers)
    assert (response.status_code, response.json()["id"]) == (200, USER_IDS["owner"])


@pytest.mark.parametrize("value", NO_TOKEN, ids=named)
async def test_another_scheme_is_no_token(client: AsyncClient, app: FastAPI, value: str) -> None:
    set_anonymous_access(app, "read")
    headers = {"Authorization": value}
    assert (await client.get("/books", headers=headers)).status_code == 200
    response = await client.post("/authors", json={"name": "Virginia"}, headers=headers)
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == CHALLENGE


@pytest.mark.parametrize("value", NO_VALID_TOKEN, ids=named)
async def test_what_is_not_exactly_one_token_is_a_bad_one(client: AsyncClient, value: str) -> None:
    response = await client.get("/books", headers={b"Authorization": value.encode("latin-1")})
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE


@pytest.mark.parametrize(
    "values",
    [
        (f"Bearer {TOKEN}", f"Bearer {TOKEN}"),
        (f"Bearer {TOKEN}", f"Bearer {TOKENS['admin']}"),
        (f"Bearer {TOKEN}", BASIC),
        (BASIC, f"Bearer {TOKEN}"),
        (f"Bearer {TOKEN}", ""),
    ],
    ids=named,
)
async def test_of_several_tokens_none_is_believed(
    client: AsyncClient, values: tuple[str, ...]
) -> None:
    response = await client.get("/books", headers=[("Authorization", value) for value in values])
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE


async def test_several_lines_of_other_schemes_are_no_token(client: AsyncClient) -> None:
    headers = [("Authorization", BASIC), ("Authorization", "Digest x")]
    assert (await client.get("/books", headers=headers)).status_code == 200


async def test_a_token_in_the_query_is_an_unknown_parameter(client: AsyncClient) -> None:
    for headers in ({}, bearer_headers(TOKEN)):
        response = await client.get("/books", params={"access_token": TOKEN}, headers=headers)
        assert field_error_locations(response) == [{"parameter": "access_token"}]
        assert TOKEN not in response.text


async def test_a_token_in_the_query_lets_nobody_in(client: AsyncClient, app: FastAPI) -> None:
    set_anonymous_access(app, "none")
    response = await client.get("/users/me", params={"access_token": TOKEN})
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == CHALLENGE


# What it costs


async def test_a_token_with_any_one_digit_changed_costs_no_statement(
    client: AsyncClient, sent: Any
) -> None:
    sent()
    for place in range(len(secret.TOKEN_PREFIX), len(TOKEN)):
        response = await client.get(
            "/books", headers=bearer_headers(change_hex_digit(TOKEN, place))
        )
        assert response.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE
    assert sent() == []


@pytest.mark.parametrize("token", RUBBISH.values(), ids=RUBBISH)
async def test_sixty_kilobytes_of_rubbish_cost_no_statement(
    client: AsyncClient, sent: Any, token: str
) -> None:
    sent()
    response = await client.get("/books", headers=bearer_headers(token))
    check_problem(response, 401, "unauthorized")
    assert token not in response.text
    assert sent() == []


async def test_a_token_that_nobody_has_costs_one_statement(client: AsyncClient, sent: Any) -> None:
    sent()
    check_problem(
        await client.get("/books", headers=bearer_headers(secret.generate_token())),
        401,
        "unauthorized",
    )
    [look_up] = sent()
    assert look_up.startswith("SELECT tokens.id")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/books/{BOOK_ID}", None),
        ("GET", "/books", None),
        ("GET", "/documents", None),
        ("GET", f"/documents/{DOCUMENT_ID}", None),
        ("GET", f"/users/{USER_IDS['owner']}", None),
        ("POST", "/authors", {"name": "Virginia"}),
        ("PATCH", f"/books/{BOOK_ID}", {"title": "Orlando"}),
        ("DELETE", f"/authors/{AUTHOR_ID}", None),
    ],
)
async def test_a_token_that_was_used_lately_takes_one_statement_more(
    client: AsyncClient, cleaner: Cleaner, sent: Any, method: str, path: str, body: Any
) -> None:
    async with cleaner.snapshot():
        sent()
        await client.request(method, path, json=body)
        bare = sent()
        await cleaner.restore()
        response = await client.request(
            method, path, json=body, headers=bearer_headers(TOKENS["admin"])
        )
    assert response.is_success
    look_up, *others = sent()
    assert look_up.startswith("SELECT tokens.id")
    assert len(others) == len(bare)


@pytest.mark.parametrize(
    ("last", "noted"),
    [("NULL", True), ("now() - interval '301 s'", True), ("now() - interval '299 s'", False)],
)
async def test_the_use_of_a_token_is_noted_every_five_minutes(
    client: AsyncClient, database: Database, sent: Any, last: str, noted: bool
) -> None:
    await execute(database, f"UPDATE tokens SET last_used_at = {last}")
    sent()
    assert (await client.get("/users/me", headers=bearer_headers(TOKEN))).status_code == 200
    assert [statement.split()[0] for statement in sent()] == (
        ["SELECT", "UPDATE", "SELECT"] if noted else ["SELECT", "SELECT"]
    )
    just_now = "SELECT id FROM tokens WHERE last_used_at > now() - interval '10 s'"
    assert await select_values(database, just_now) == ([TOKEN_IDS["owner"]] if noted else [])
