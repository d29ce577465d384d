"""A login grants a scope and a lifetime. The number of tokens of a user is limited.

`tests/test_access.py` has the tests of what a token of a scope may do.
"""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    add_token,
    add_user,
    bearer_headers,
    client_of_new_instance,
    fetch_value,
    is_token_accepted,
    log_in,
    log_in_for_token,
)
from tests.support.problems import check_field_error, check_problem, field_error_locations

FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}
SELECT_LIFETIME = "SELECT expires_at - created_at FROM tokens"
TOLERANCE = timedelta(minutes=1)


# The scope


@pytest.mark.parametrize(
    ("requested", "granted"),
    [
        ({}, "read write"),
        ({"scope": ""}, "read write"),
        ({"scope": "read"}, "read"),
        ({"scope": "write"}, "write"),
        ({"scope": "read write"}, "read write"),
        ({"scope": "write read"}, "read write"),
        ({"scope": "read read"}, "read"),
    ],
)
async def test_login_grants_the_requested_scope_and_states_it(
    client: AsyncClient, database: Database, requested: dict[str, str], granted: str
) -> None:
    await add_user(database)
    response = await log_in(client, EMAIL, PASSWORD, **requested)
    assert (response.status_code, response.json()["scope"]) == (201, granted)
    assert await fetch_value(database, "SELECT scope FROM tokens") == granted


@pytest.mark.parametrize(
    "scope",
    [
        "admin",
        "read admin",
        "READ",
        "read,write",
        "read\twrite",
        "read\nwrite",
        "read  write",
        " read",
        "read ",
        " ",
        "read\u00a0write",
        "*",
        "readwrite",
    ],
)
async def test_login_with_an_unknown_scope_returns_422_and_creates_no_token(
    client: AsyncClient, database: Database, scope: str
) -> None:
    await add_user(database)
    check_field_error(await log_in(client, EMAIL, PASSWORD, scope=scope), "/scope", "invalid_scope")
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_login_with_10000_scopes_returns_422(client: AsyncClient, database: Database) -> None:
    await add_user(database)
    response = await log_in(client, EMAIL, PASSWORD, scope=" ".join(["read"] * 10_000))
    check_field_error(response, "/scope", "string_too_long")


async def test_login_with_two_scope_fields_returns_422(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    form = "username=ada%40example.com&password=correct+horse&scope=read&scope=write"
    response = await client.post("/tokens", content=form, headers=FORM_TYPE)
    check_field_error(response, "/scope", "repeated_field")


async def test_list_of_tokens_shows_the_scope_of_each(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    tokens = [await log_in(client, EMAIL, PASSWORD, scope=scope) for scope in ("read", "", "write")]
    headers = bearer_headers(tokens[0].json()["access_token"])
    items = (await client.get("/tokens", headers=headers)).json()["items"]
    assert [item["scope"] for item in items] == ["read", "read write", "write"]


async def test_token_that_a_server_of_the_previous_release_inserted_has_the_full_scope(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    headers = bearer_headers(await add_token(database, user))
    [item] = (await client.get("/tokens", headers=headers)).json()["items"]
    assert item["scope"] == "read write"
    response = await client.post("/documents", files={"name": (None, "x")}, headers=headers)
    assert response.status_code == 201


async def test_read_token_replays_no_stored_response_to_a_write(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, role="editor")
    headers = {**bearer_headers(await add_token(database, user)), "Idempotency-Key": "k"}
    response = await client.post("/authors", json={"name": "Homer"}, headers=headers)
    assert response.status_code == 201
    restricted_token = await log_in_for_token(client, scope="read")
    headers = {**bearer_headers(restricted_token), "Idempotency-Key": "k"}
    response = await client.post("/authors", json={"name": "Homer"}, headers=headers)
    check_problem(response, 403, "forbidden")
    assert "idempotency-replayed" not in response.headers


@pytest.mark.private_database
async def test_token_with_an_unknown_scope_in_the_database_grants_nothing(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    headers = bearer_headers(await add_token(database, await add_user(database, role="admin")))
    await outside_connection.execute("ALTER TABLE tokens DROP CONSTRAINT ck_tokens_scope")
    for scope in ("", "READ", "writeread", "read,write"):
        await outside_connection.execute("UPDATE tokens SET scope = $1", scope)
        for path in ("/users/me", "/books", "/tokens"):
            check_problem(await client.get(path, headers=headers), 403, "forbidden")
        response = await client.post("/authors", json={"name": "Homer"}, headers=headers)
        check_problem(response, 403, "forbidden")


# The lifetime


@pytest.mark.parametrize("seconds", [1, 60, 2_592_000])
async def test_login_grants_the_requested_lifetime_and_states_it(
    client: AsyncClient, database: Database, seconds: int
) -> None:
    await add_user(database)
    response = await log_in(client, EMAIL, PASSWORD, expires_in=str(seconds))
    assert (response.status_code, response.json()["expires_in"]) == (201, seconds)
    lifetime = await fetch_value(database, SELECT_LIFETIME)
    assert abs(lifetime - timedelta(seconds=seconds)) < TOLERANCE


@pytest.mark.parametrize(
    "expires_in",
    [
        *("0", "-1", "+1", "01", "1e3", "60.0", " 60", "6_0", "0x3c", "٦٠", "NaN", "null", "PT1H"),
        *("2592001", str(2**31), str(2**63), "9" * 1000),
    ],
)
async def test_login_with_an_invalid_lifetime_returns_422_and_creates_no_token(
    client: AsyncClient, database: Database, expires_in: str
) -> None:
    await add_user(database)
    response = await log_in(client, EMAIL, PASSWORD, expires_in=expires_in)
    assert field_error_locations(response) == [{"pointer": "/expires_in"}]
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


@pytest.mark.private_database
async def test_lifetime_is_at_most_the_setting_which_the_document_states(
    database: Database, database_url: str
) -> None:
    await add_user(database)
    async with client_of_new_instance(database_url, token_ttl=3600) as client:
        response = await log_in(client, EMAIL, PASSWORD, expires_in="3601")
        check_field_error(response, "/expires_in", "less_than_equal")
        assert response.json()["errors"][0]["detail"] == "Must be at most 3600"
        response = await log_in(client, EMAIL, PASSWORD, expires_in="3600")
        assert response.json()["expires_in"] == 3600
        document = (await client.get("/openapi.json")).json()
    expires_in = document["components"]["schemas"]["LoginForm"]["properties"]["expires_in"]
    assert (expires_in["type"], expires_in["minimum"], expires_in["maximum"]) == (
        "integer",
        1,
        3600,
    )
    assert "x-setting-limits" not in str(document)


async def test_token_expires_after_the_requested_lifetime(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    token = await log_in_for_token(client, expires_in="3600")
    assert await is_token_accepted(client, token)
    shift = "UPDATE tokens SET expires_at = expires_at - interval '3600 seconds' RETURNING id"
    await fetch_value(database, shift)
    assert not await is_token_accepted(client, token)


# The number of tokens


@pytest.mark.private_database
async def test_login_beyond_the_maximum_revokes_the_token_that_was_used_longest_ago(
    database: Database, database_url: str
) -> None:
    user = await add_user(database)
    token_of_bob = await add_token(database, await add_user(database, "bob@example.com"))
    async with client_of_new_instance(database_url, max_tokens_per_user=3) as client:
        phone, *scripts = [await log_in_for_token(client) for _ in range(3)]
        # The phone has the oldest token, but it is the only one in use.
        age_tokens = "UPDATE tokens SET created_at = created_at - interval '1 hour' RETURNING id"
        await fetch_value(database, age_tokens)
        assert await is_token_accepted(client, phone)
        newest = await log_in_for_token(client)
        accepted = [await is_token_accepted(client, token) for token in (phone, *scripts, newest)]
        assert accepted == [True, False, True, True]
        assert await is_token_accepted(client, token_of_bob)
    count = "SELECT count(*) FROM tokens WHERE user_id = :user"
    assert await fetch_value(database, count, user=user) == 3


@pytest.mark.private_database
async def test_login_beyond_the_maximum_deletes_expired_tokens_before_valid_ones(
    database: Database, database_url: str
) -> None:
    user = await add_user(database)
    async with client_of_new_instance(database_url, max_tokens_per_user=2) as client:
        first = await log_in_for_token(client)
        for _ in range(3):
            await add_token(database, user, used=True)
        expire = "UPDATE tokens SET expires_at = now() WHERE name = 'a token' RETURNING id"
        await fetch_value(database, expire)
        second = await log_in_for_token(client)
        assert [await is_token_accepted(client, token) for token in (first, second)] == [True] * 2
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 2


@pytest.mark.private_database
async def test_refused_login_revokes_no_token(database: Database, database_url: str) -> None:
    await add_user(database)
    async with client_of_new_instance(database_url, max_tokens_per_user=1) as client:
        token = await log_in_for_token(client)
        check_problem(await log_in(client, password="a guess"), 401, "unauthorized")
        assert await is_token_accepted(client, token)


@pytest.mark.private_database
async def test_next_login_revokes_the_surplus_of_concurrent_logins(
    database: Database, database_url: str
) -> None:
    await add_user(database)
    count = "SELECT count(*) FROM tokens"
    async with client_of_new_instance(database_url, max_tokens_per_user=3) as client:
        responses = await asyncio.gather(*(log_in(client) for _ in range(8)))
        assert {response.status_code for response in responses} == {201}
        assert 3 <= await fetch_value(database, count) <= 8
        token = await log_in_for_token(client)
        assert await fetch_value(database, count) == 3
        assert await is_token_accepted(client, token)
