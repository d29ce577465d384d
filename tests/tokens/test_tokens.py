"""Tokens: what they look like, what is kept of them, and how long they let anybody in."""

import asyncio
import logging
import re
from datetime import datetime, timedelta
from hashlib import sha256
from zlib import crc32

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.observability import create_log_formatter
from app.tokens import secret
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
    sql_commands,
)
from tests.support.problems import check_problem

JUST_USED = "SELECT last_used_at > now() - interval '10 s' FROM tokens"

FORM = re.compile("bookshelf_([0-9a-f]{64})([0-9a-f]{8})")


async def new_token(client: AsyncClient) -> str:
    """As a client gets one."""
    response = await log_in(client)
    assert response.status_code == 201, response.text
    token: str = response.json()["access_token"]
    return token


def test_a_token_is_a_prefix_and_256_random_bits_with_their_checksum() -> None:
    found = [FORM.fullmatch(secret.generate_token()) for _ in range(100)]
    pairs = [match.groups() for match in found if match]
    assert len({random for random, _ in pairs}) == 100
    assert all(int(checksum, 16) == crc32(random.encode()) for random, checksum in pairs)


GOOD = secret.generate_token()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param("eyJhbGciOiJub25lIn0.e30.", id="somebody else's"),
        pytest.param(GOOD.removeprefix("bookshelf_"), id="no prefix"),
        pytest.param(GOOD.upper(), id="capitals"),
        pytest.param(GOOD[:-1] + f"{int(GOOD[-1], 16) ^ 1:x}", id="a wrong checksum"),
        pytest.param(GOOD[:-9] + f"{int(GOOD[-9], 16) ^ 1:x}" + GOOD[-8:], id="a typing mistake"),
        pytest.param(GOOD[:-1], id="too short"),
        pytest.param(GOOD + "0", id="too long"),
        pytest.param(f"{GOOD} {GOOD}", id="two"),
        pytest.param(GOOD[:-1] + "é", id="not ASCII"),
    ],
)
async def test_what_is_no_token_is_known_without_the_database(
    client: AsyncClient, statements: list[str], token: str
) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}
    response = await client.get("/users/me", headers=headers)
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == 'Bearer realm="bookshelf", error="invalid_token"'
    assert statements == []


async def test_a_well_made_token_that_nobody_has_been_given_lets_nobody_in(
    client: AsyncClient, statements: list[str]
) -> None:
    response = await client.get("/users/me", headers=bearer_headers(GOOD))
    check_problem(response, 401, "unauthorized")
    assert GOOD not in response.text
    assert sql_commands(statements) == ["SELECT"]


async def test_the_database_has_nothing_of_a_token_but_its_sha_256(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    token = await new_token(client)
    assert (
        await fetch_value(database, "SELECT digest FROM tokens") == sha256(token.encode()).digest()
    )
    row = await fetch_value(database, "SELECT to_jsonb(tokens)::text FROM tokens")
    match = FORM.fullmatch(token)
    assert match
    for part in (match[1], match[1].encode().hex(), match[2]):
        assert part not in row


async def test_a_token_is_shown_only_once(client: AsyncClient, database: Database) -> None:
    await add_user(database)
    token = await new_token(client)
    response = await client.get("/tokens", headers=bearer_headers(token))
    assert response.headers["cache-control"] == "no-store"
    [item] = response.json()["items"]
    assert list(item) == [
        "id",
        "name",
        "expires_at",
        "last_used_at",
        "created_at",
        "updated_at",
        "version",
    ]
    digest = sha256(token.encode()).hexdigest()
    assert not any(part in response.text for part in (token[10:74], token[-8:], digest))


@pytest.mark.private_database
async def test_neither_tokens_nor_passwords_nor_emails_are_logged_even_when_all_fails(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await add_user(database)
    caplog.set_level(logging.DEBUG)
    token = await new_token(client)
    responses = [await log_in(client, password="battery staple")]
    for failure in (
        "SELECT",  # none
        "ALTER TABLE tokens RENAME TO hidden",  # a mistake of ours, with its traceback
        "ALTER TABLE users ALTER COLUMN password_hash TYPE varchar(20) USING 'cut'",
    ):
        await outside_connection.execute(failure)
        responses += [
            await log_in(client),
            await client.get("/tokens", headers=bearer_headers(token)),
        ]
    assert [response.status_code for response in responses] == [401, 201, 200, 500, 500, 500, 500]
    assert "Traceback" in caplog.text
    lines = (create_log_formatter("json").format(record) for record in caplog.records)
    said = "".join(lines) + caplog.text + "".join(response.text for response in responses[3:])
    for told in (PASSWORD, "battery staple", EMAIL, "ada%40", "argon2id$", token[10:74]):
        assert told not in said
    assert not secret.TOKEN_PATTERN.search(said)


@pytest.mark.private_database
async def test_a_token_works_on_every_worker_until_it_is_revoked_on_one(
    client: AsyncClient, database: Database, database_url: str
) -> None:
    user = await add_user(database)
    token, kept = [await add_token(database, user) for _ in range(2)]
    async with client_of_new_instance(database_url) as second:
        for each in (client, second):
            assert await is_token_accepted(each, token)
        response = await client.delete("/tokens/current", headers=bearer_headers(token))
        assert (response.status_code, response.content) == (204, b"")
        for each in (second, client):
            assert not await is_token_accepted(each, token)
            assert await is_token_accepted(each, kept)


@pytest.mark.private_database
async def test_a_token_works_nowhere_once_it_has_expired(
    client: AsyncClient,
    database: Database,
    database_url: str,
    outside_connection: asyncpg.Connection,
) -> None:
    token = await add_token(database, await add_user(database))
    async with client_of_new_instance(database_url) as second:
        for each in (client, second):
            assert await is_token_accepted(each, token)
        await outside_connection.execute("UPDATE tokens SET expires_at = clock_timestamp()")
        for each in (second, client):
            assert not await is_token_accepted(each, token)


async def test_a_token_expires_after_the_time_of_the_settings(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    expires_in = timedelta(seconds=(await log_in(client)).json()["expires_in"])
    assert expires_in == timedelta(days=30)
    left: timedelta = await fetch_value(
        database, "SELECT expires_at - clock_timestamp() FROM tokens"
    )
    assert expires_in - timedelta(minutes=1) < left <= expires_in


async def test_a_token_acts_with_the_role_that_its_user_has_now(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, role="editor")
    headers = bearer_headers(await add_token(database, user))
    body = {"name": "Ursula K. Le Guin"}
    assert (await client.post("/authors", json=body, headers=headers)).status_code == 201
    await fetch_value(database, "UPDATE users SET role = 'member' RETURNING id")
    response = await client.post("/authors", json=body, headers=headers)
    check_problem(response, 403, "forbidden")
    assert 'error="insufficient_scope"' in response.headers["www-authenticate"]


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_of_other_peoples_tokens_one_sees_none_and_revokes_none(
    client: AsyncClient, database: Database, role: str
) -> None:
    theirs = await add_token(database, await add_user(database, "bob@example.com"))
    key = await fetch_value(database, "SELECT id FROM tokens")
    headers = bearer_headers(await add_token(database, await add_user(database, role=role)))
    page = (await client.get("/tokens", headers=headers)).json()
    assert page["total"] == len(page["items"]) == 1
    assert page["items"][0]["id"] != str(key)
    check_problem(await client.delete(f"/tokens/{key}", headers=headers), 404, "not-found")
    assert await is_token_accepted(client, theirs)


async def test_one_revokes_another_of_ones_own_tokens_at_its_location(
    client: AsyncClient, database: Database
) -> None:
    mine = await add_token(database, await add_user(database))
    response = await log_in(client)
    headers = bearer_headers(mine)
    assert (await client.delete(response.headers["location"], headers=headers)).status_code == 204
    assert not await is_token_accepted(client, response.json()["access_token"])
    assert await is_token_accepted(client, mine)


async def test_a_deleted_user_takes_all_tokens_along(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    theirs = await add_token(database, await add_user(database, "bob@example.com"))
    assert (
        await client.delete(f"/users/{user}", headers=bearer_headers(tokens[0]))
    ).status_code == 204
    assert [await is_token_accepted(client, token) for token in (*tokens, theirs)] == [
        False,
        False,
        True,
    ]
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 1


async def test_a_second_use_within_five_minutes_writes_nothing(
    client: AsyncClient, database: Database, statements: list[str]
) -> None:
    token = await add_token(database, await add_user(database))
    statements.clear()
    assert await is_token_accepted(client, token)
    assert sql_commands(statements) == ["SELECT", "UPDATE", "SELECT"]
    assert await fetch_value(database, JUST_USED)
    statements.clear()
    assert await is_token_accepted(client, token)
    assert sql_commands(statements) == ["SELECT", "SELECT"]


async def test_a_use_after_five_minutes_is_noted_again(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    for minutes, noted in ((4.9, False), (5.1, True)):
        used = timedelta(minutes=minutes)
        update = "UPDATE tokens SET last_used_at = now() - CAST(:used AS interval) RETURNING id"
        await fetch_value(database, update, used=used)
        assert await is_token_accepted(client, token)
        assert await fetch_value(database, JUST_USED) == noted


async def test_the_use_of_a_token_changes_neither_its_version_nor_when_it_was_updated(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    before = "UPDATE tokens SET updated_at = '2020-01-01Z' RETURNING updated_at"
    updated: datetime = await fetch_value(database, before)
    assert await is_token_accepted(client, token)
    assert await fetch_value(database, "SELECT version FROM tokens") == 1
    assert await fetch_value(database, "SELECT updated_at FROM tokens") == updated


@pytest.mark.private_database
async def test_of_many_first_uses_at_once_one_is_noted(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    token = await add_token(database, await add_user(database))
    await outside_connection.execute(
        """
        CREATE SEQUENCE notes;
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('notes'); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER UPDATE ON tokens FOR EACH ROW EXECUTE FUNCTION note();
        """
    )
    assert all(await asyncio.gather(*(is_token_accepted(client, token) for _ in range(30))))
    assert await outside_connection.fetchval("SELECT last_value FROM notes WHERE is_called") == 1


@pytest.mark.private_database
async def test_a_token_works_while_its_use_cannot_be_noted_in_time(
    database: Database, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    token = await add_token(database, await add_user(database))
    async with (
        client_of_new_instance(database_url, db_statement_timeout=0.25) as client,
        outside_connection.transaction(),
    ):
        await outside_connection.execute("SELECT FROM tokens FOR UPDATE")
        assert await is_token_accepted(client, token)
    assert await outside_connection.fetchval("SELECT last_used_at FROM tokens") is None


@pytest.mark.private_database
async def test_a_token_works_on_a_server_that_takes_no_writes(
    database: Database, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    # As a replica that has not yet been promoted, or a server whose disk is full.
    token = await add_token(database, await add_user(database))
    name = await outside_connection.fetchval("SELECT quote_ident(current_database())")
    await outside_connection.execute(
        f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    )
    async with client_of_new_instance(database_url) as client:
        assert await is_token_accepted(client, token)
    assert await outside_connection.fetchval("SELECT last_used_at FROM tokens") is None
