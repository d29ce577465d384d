"""The Authorization header: which values are tokens, and how many statements they cost."""

import re
from collections.abc import Callable
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

TakeStatements = Callable[[], list[str]]

TOKEN = TOKENS["owner"]
BASIC = "Basic YWRhOmNvcnJlY3Q="
NOT_BEARER = [BASIC, "Digest x", f"Token {TOKEN}", TOKEN, f"Basic Bearer {TOKEN}", ""]
INVALID_BEARER = [
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
ZEROS = "0" * 60_000
LONG_VALUES = {
    "letters": "x" * 60_000,
    "blanks": " " * 60_000,
    "prefixes": secret.TOKEN_PREFIX * (60_000 // len(secret.TOKEN_PREFIX)),
    "digits": secret.TOKEN_PREFIX + ZEROS,
    "digits and their checksum": f"{secret.TOKEN_PREFIX}{ZEROS}{crc32(ZEROS.encode()):08x}",
}


@pytest.fixture(autouse=True)
async def callers(database: Database) -> None:
    await add_callers(database)
    await add_resources(database, "owner")


@pytest.fixture
def take_statements(statements: list[str]) -> TakeStatements:
    """Return the statements that were sent since the last call."""

    def take() -> list[str]:
        taken = statements.copy()
        statements.clear()
        return taken

    return take


def parameter_id(value: object) -> str:
    """Return the id of a parameter, without tokens, which differ between processes."""
    return re.sub("[0-9A-Fa-f]{70,}", "T", repr(value))


# Values that are tokens


@pytest.mark.parametrize("prefix", ["Bearer ", "bearer ", "BEARER ", "bEARER ", "Bearer    "])
@pytest.mark.parametrize("suffix", ["", "  "])
async def test_scheme_is_case_insensitive_and_surplus_blanks_are_ignored(
    client: AsyncClient, prefix: str, suffix: str
) -> None:
    headers = {"Authorization": f"{prefix}{TOKEN}{suffix}"}
    response = await client.get("/users/me", headers=headers)
    assert (response.status_code, response.json()["id"]) == (200, USER_IDS["owner"])


@pytest.mark.parametrize("value", NOT_BEARER, ids=parameter_id)
async def test_another_scheme_is_ignored(client: AsyncClient, app: FastAPI, value: str) -> None:
    set_anonymous_access(app, "read")
    headers = {"Authorization": value}
    assert (await client.get("/books", headers=headers)).status_code == 200
    response = await client.post("/authors", json={"name": "Virginia"}, headers=headers)
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == CHALLENGE


@pytest.mark.parametrize("value", INVALID_BEARER, ids=parameter_id)
async def test_invalid_bearer_value_returns_401(client: AsyncClient, value: str) -> None:
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
    ids=parameter_id,
)
async def test_repeated_header_with_a_token_returns_401(
    client: AsyncClient, values: tuple[str, ...]
) -> None:
    response = await client.get("/books", headers=[("Authorization", value) for value in values])
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE


async def test_repeated_header_with_other_schemes_is_ignored(client: AsyncClient) -> None:
    headers = [("Authorization", BASIC), ("Authorization", "Digest x")]
    assert (await client.get("/books", headers=headers)).status_code == 200


async def test_token_in_query_is_an_unknown_parameter(client: AsyncClient) -> None:
    for headers in ({}, bearer_headers(TOKEN)):
        response = await client.get("/books", params={"access_token": TOKEN}, headers=headers)
        assert field_error_locations(response) == [{"parameter": "access_token"}]
        assert TOKEN not in response.text


async def test_token_in_query_is_not_accepted(client: AsyncClient, app: FastAPI) -> None:
    set_anonymous_access(app, "none")
    response = await client.get("/users/me", params={"access_token": TOKEN})
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == CHALLENGE


# Statements


async def test_token_with_one_changed_digit_costs_no_statement(
    client: AsyncClient, take_statements: TakeStatements
) -> None:
    take_statements()
    for position in range(len(secret.TOKEN_PREFIX), len(TOKEN)):
        response = await client.get(
            "/books", headers=bearer_headers(change_hex_digit(TOKEN, position))
        )
        assert response.headers["www-authenticate"] == INVALID_TOKEN_CHALLENGE
    assert take_statements() == []


@pytest.mark.parametrize("token", LONG_VALUES.values(), ids=LONG_VALUES)
async def test_invalid_token_of_60_kilobytes_costs_no_statement(
    client: AsyncClient, take_statements: TakeStatements, token: str
) -> None:
    take_statements()
    response = await client.get("/books", headers=bearer_headers(token))
    check_problem(response, 401, "unauthorized")
    assert token not in response.text
    assert take_statements() == []


async def test_unknown_token_costs_one_statement(
    client: AsyncClient, take_statements: TakeStatements
) -> None:
    take_statements()
    check_problem(
        await client.get("/books", headers=bearer_headers(secret.generate_token())),
        401,
        "unauthorized",
    )
    [token_lookup] = take_statements()
    assert token_lookup.startswith("SELECT tokens.digest")


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
async def test_recently_used_token_costs_one_more_statement(
    client: AsyncClient,
    cleaner: Cleaner,
    take_statements: TakeStatements,
    method: str,
    path: str,
    body: Any,
) -> None:
    async with cleaner.snapshot():
        take_statements()
        await client.request(method, path, json=body)
        statements_without_token = take_statements()
        await cleaner.restore()
        response = await client.request(
            method, path, json=body, headers=bearer_headers(TOKENS["admin"])
        )
    assert response.is_success
    token_lookup, *other_statements = take_statements()
    assert token_lookup.startswith("SELECT tokens.digest")
    assert len(other_statements) == len(statements_without_token)


@pytest.mark.parametrize(
    ("last_used_at", "is_recorded"),
    [("NULL", True), ("now() - interval '301 s'", True), ("now() - interval '299 s'", False)],
)
async def test_use_of_token_is_recorded_every_5_minutes(
    client: AsyncClient,
    database: Database,
    take_statements: TakeStatements,
    last_used_at: str,
    is_recorded: bool,
) -> None:
    await execute(database, f"UPDATE tokens SET last_used_at = {last_used_at}")
    take_statements()
    assert (await client.get("/users/me", headers=bearer_headers(TOKEN))).status_code == 200
    expected_commands = ["SELECT", "SELECT"]
    expected_ids = []
    if is_recorded:
        expected_commands = ["SELECT", "UPDATE", "SELECT"]
        expected_ids = [TOKEN_IDS["owner"]]
    assert [statement.split()[0] for statement in take_statements()] == expected_commands
    just_used = "SELECT id FROM tokens WHERE last_used_at > now() - interval '10 s'"
    assert await select_values(database, just_used) == expected_ids
