"""Login (`POST /tokens`): the form, wrong credentials, and the replacement of weak hashes."""

import asyncio
from contextlib import ExitStack
from typing import Any

import asyncpg
import pytest
from argon2 import PasswordHasher as Argon2PasswordHasher
from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.users.passwords import DUMMY_HASH, PasswordHasher
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    PASSWORD_HASH,
    WEAK_PASSWORD_HASH,
    WRONG_PASSWORD,
    add_token,
    add_user,
    bearer_headers,
    fetch_value,
    is_token_accepted,
    log_in,
)
from tests.support.attempt_counters import read_levels
from tests.support.database_activity import start_until_blocked
from tests.support.factories import make_user
from tests.support.multipart import stream_chunks
from tests.support.problems import check_problem, field_error_locations
from tests.support.recorded_hashes import record_verified_hashes
from tests.support.resources import replace_resources

FORM_TYPE = "application/x-www-form-urlencoded"
FORM_PASSWORD = "swordfish"
VALID_FORM = f"username=ada%40example.com&password={FORM_PASSWORD}".encode()
MIB = 2**20


async def send_form(
    client: AsyncClient, body: Any, content_type: str | None = FORM_TYPE, **headers: str
) -> Response:
    """Send a login request with this body, and without a Content-Type if that is None."""
    if content_type is not None:
        headers = {"Content-Type": content_type, **headers}
    return await client.post("/tokens", content=body, headers=headers)


@pytest.mark.parametrize("username", [EMAIL, "ADA@Example.COM", "Ada@example.com"])
async def test_login_returns_token_when_email_differs_in_case(
    client: AsyncClient, database: Database, username: str
) -> None:
    user_id = await add_user(database)
    response = await log_in(client, username, name="laptop", grant_type="password", scope="")
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    assert list(response.json()) == ["access_token", "token_type", "expires_in", "scope"]
    assert response.json()["token_type"] == "bearer"
    token_id, name = await fetch_value(database, "SELECT ROW(id, name) FROM tokens")
    assert (response.headers["location"], name) == (f"/tokens/{token_id}", "laptop")
    current_user = await client.get(
        "/users/me", headers=bearer_headers(response.json()["access_token"])
    )
    assert current_user.json()["id"] == user_id


async def test_login_succeeds_when_email_and_password_have_special_characters(
    client: AsyncClient,
) -> None:
    email, password = "émilie@bücher.example", " p&ss=w+rd%20 é😀\r\n"
    await make_user(client, email=email, password=password)
    assert (await log_in(client, "e\u0301milie@xn--bcher-kva.example", password)).is_success
    check_problem(await log_in(client, email, password.strip()), 401, "unauthorized")


@pytest.mark.parametrize(
    ("name", "user_agent", "expected_name"),
    [
        ("laptop", "curl/8", "laptop"),
        (None, "curl/8", "curl/8"),
        ("", "curl/8", "curl/8"),
        (None, "x" * 200, "x" * 100),
        (None, "", "unnamed"),
    ],
)
async def test_token_is_named_after_user_agent_when_form_has_no_name(
    client: AsyncClient, database: Database, name: str | None, user_agent: str, expected_name: str
) -> None:
    await add_user(database)
    body = {"username": EMAIL, "password": PASSWORD}
    if name is not None:
        body["name"] = name
    response = await client.post("/tokens", data=body, headers={"User-Agent": user_agent})
    assert response.status_code == 201
    assert await fetch_value(database, "SELECT name FROM tokens") == expected_name


async def test_login_succeeds_when_request_has_revoked_token(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    await fetch_value(database, "DELETE FROM tokens RETURNING id")
    body = {"username": EMAIL, "password": PASSWORD}
    response = await client.post("/tokens", data=body, headers=bearer_headers(token))
    assert response.status_code == 201


async def test_login_verifies_one_hash_and_returns_same_401_for_wrong_email_or_password(
    client: AsyncClient, database: Database, app: FastAPI
) -> None:
    await add_user(database)
    with record_verified_hashes(app) as verified_hashes:
        responses = [
            await log_in(client, EMAIL, WRONG_PASSWORD),
            await log_in(client, "nobody@example.com", WRONG_PASSWORD),
            await log_in(client, "nobody@example.com", PASSWORD),
            await log_in(client, "not an email address", PASSWORD),
        ]
    problems = [check_problem(response, 401, "unauthorized") for response in responses]
    for response, problem in zip(responses, problems, strict=True):
        assert problem.pop("request_id") == response.headers.pop("x-request-id")
        assert (problem, response.headers) == (problems[0], responses[0].headers)
    assert responses[0].headers["www-authenticate"].startswith("Bearer")
    assert verified_hashes == [PASSWORD_HASH, DUMMY_HASH, DUMMY_HASH, DUMMY_HASH]


def test_dummy_hash_has_same_parameters_as_password_hash() -> None:
    assert extract_parameters(DUMMY_HASH) == extract_parameters(PASSWORD_HASH)
    # argon2 raises this error only after it has computed the whole hash, and another one for a
    # malformed hash.
    with pytest.raises(VerifyMismatchError):
        Argon2PasswordHasher().verify(DUMMY_HASH, PASSWORD)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b"", ["/username", "/password"]),
        (b"username=ada%40example.com", ["/password"]),
        (b"username&password=swordfish", ["/username"]),
        (b"username=&password=swordfish", ["/username"]),
        (b"username=ada%40example.com&password=", ["/password"]),
        (b"username=" + b"a" * 255 + b"&password=swordfish", ["/username"]),
        (b"username=ada%00%40example.com&password=swordfish", ["/username"]),
        (b"username=ada%40example.com&password=" + b"swordfish" * 15, ["/password"]),
        (b"username=ada%40example.com&password=sword%00fish", ["/password"]),
        (VALID_FORM + b"&name=" + b"x" * 101, ["/name"]),
        (VALID_FORM + b"&name=a%00b", ["/name"]),
        (VALID_FORM + b"&client_secret=a%00b", ["/client_secret"]),
        (VALID_FORM + b"&grant_type=refresh_token", ["/grant_type"]),
        (VALID_FORM + b"&email=ada%40example.com", ["/email"]),
        (VALID_FORM + b"&Password=swordfish", ["/Password"]),
        (VALID_FORM + b"&a/b~c=swordfish", ["/a~1b~0c"]),
        (VALID_FORM + b"&password=swordfish", ["/password"]),
        (VALID_FORM + b"&username=bob&password=swordfish", ["/username", "/password"]),
    ],
)
async def test_invalid_form_returns_422_before_any_sql_statement(
    client: AsyncClient, statements: list[str], body: bytes, pointers: list[str]
) -> None:
    response = await send_form(client, body)
    assert field_error_locations(response) == [{"pointer": pointer} for pointer in pointers]
    assert FORM_PASSWORD not in response.text
    assert statements == []


@pytest.mark.parametrize(
    ("body", "status", "problem_type"),
    [
        pytest.param(
            b"username=%ff&password=swordfish",
            400,
            "malformed-request",
            id="percent-encoded invalid UTF-8",
        ),
        pytest.param(
            b"username=\xff&password=swordfish", 400, "malformed-request", id="raw invalid UTF-8"
        ),
        pytest.param(
            b"%ff=swordfish", 400, "malformed-request", id="invalid UTF-8 in a field name"
        ),
        pytest.param(b"username=%ed%a0%80&password=x", 400, "malformed-request", id="surrogate"),
        pytest.param(VALID_FORM + b"&a=" * 99, 400, "malformed-request", id="too many fields"),
        pytest.param(
            VALID_FORM + b"&scope=" + b"x" * MIB, 413, "payload-too-large", id="too large"
        ),
    ],
)
async def test_malformed_or_too_large_form_returns_error_before_any_sql_statement(
    client: AsyncClient, statements: list[str], body: bytes, status: int, problem_type: str
) -> None:
    response = await send_form(client, body)
    check_problem(response, status, problem_type)
    assert FORM_PASSWORD not in response.text
    assert statements == []


async def test_too_large_form_without_content_length_returns_413(client: AsyncClient) -> None:
    response = await send_form(client, stream_chunks(VALID_FORM, b"&scope=", *[b"x" * 1024] * 1024))
    check_problem(response, 413, "payload-too-large")


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        (None, {}),
        ("application/json", {}),
        ("multipart/form-data; boundary=x", {}),
        ("text/plain", {}),
        (f"{FORM_TYPE}; charset=latin-1", {}),
        (FORM_TYPE, {"Content-Encoding": "gzip"}),
    ],
)
async def test_body_with_other_type_charset_or_encoding_returns_415(
    client: AsyncClient, content_type: str | None, headers: dict[str, str]
) -> None:
    response = await send_form(client, VALID_FORM, content_type, **headers)
    check_problem(response, 415, "unsupported-media-type")


async def test_login_accepts_form_with_charset_utf_8_and_identity_encoding(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    body = b"username=ada%40example.com&password=correct+horse"
    response = await send_form(
        client, body, f"{FORM_TYPE}; charset=UTF-8", **{"Content-Encoding": "identity"}
    )
    assert response.status_code == 201


async def test_login_without_a_free_place_for_its_hash_returns_503_and_counts_no_failure(
    client: AsyncClient, database: Database, app: FastAPI
) -> None:
    hasher = PasswordHasher(max_pending=1)
    replace_resources(app, password_hasher=hasher)
    with hasher.reserve():
        response = await log_in(client, EMAIL, WRONG_PASSWORD)
    check_problem(response, 503, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    assert await read_levels(database) == {}
    # No hash is pending any more, so the next login is processed.
    assert (await log_in(client, EMAIL, WRONG_PASSWORD)).status_code == 401
    hasher.close()


@pytest.mark.private_database
async def test_login_that_loses_the_last_place_for_its_hash_after_it_was_counted_is_not_counted(
    client: AsyncClient, database: Database, app: FastAPI, outside_connection: asyncpg.Connection
) -> None:
    hasher = PasswordHasher(max_pending=1)
    replace_resources(app, password_hasher=hasher)
    await log_in(client, EMAIL, WRONG_PASSWORD)
    with ExitStack() as reservations:
        async with database.transaction() as session:
            await session.execute(text("SELECT kind FROM attempt_counters FOR UPDATE"))
            login = await start_until_blocked(
                log_in(client, EMAIL, WRONG_PASSWORD), outside_connection
            )
            reservations.enter_context(hasher.reserve())
        check_problem(await login, 503, "overloaded")
    assert await read_levels(database) == {"pair": 1, "network": 1, "account": 1}
    hasher.close()


async def test_login_replaces_weak_hash_and_keeps_user_and_tokens(
    client: AsyncClient, database: Database
) -> None:
    user_id = await add_user(database, password_hash=WEAK_PASSWORD_HASH)
    token = await add_token(database, user_id)
    before = await client.get(f"/users/{user_id}")
    assert (await log_in(client, password=WRONG_PASSWORD)).status_code == 401
    assert await fetch_value(database, "SELECT password_hash FROM users") == WEAK_PASSWORD_HASH
    response = await log_in(client)
    assert response.status_code == 201
    new_hash = await fetch_value(database, "SELECT password_hash FROM users")
    assert extract_parameters(new_hash) == extract_parameters(PASSWORD_HASH)
    assert await is_token_accepted(client, token)
    assert await is_token_accepted(client, response.json()["access_token"])
    after = await client.get(f"/users/{user_id}")
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    assert (await log_in(client)).status_code == 201
    assert await fetch_value(database, "SELECT password_hash FROM users") == new_hash


@pytest.mark.private_database
async def test_concurrent_logins_of_user_with_weak_hash_all_succeed(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database, password_hash=WEAK_PASSWORD_HASH)
    responses = await asyncio.gather(*(log_in(client) for _ in range(4)))
    assert [response.status_code for response in responses] == [201] * 4
    new_hash = await fetch_value(database, "SELECT password_hash FROM users")
    assert extract_parameters(new_hash) == extract_parameters(PASSWORD_HASH)
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 4
    assert await read_levels(database) == {}
