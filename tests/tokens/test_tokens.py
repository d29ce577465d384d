"""Access tokens: their format, storage, expiry and revocation, and the time of their last use."""

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
    log_in_for_token,
    sql_commands,
)
from tests.support.problems import check_problem

IS_JUST_USED = "SELECT last_used_at > now() - interval '10 s' FROM tokens"

TOKEN_FORMAT = re.compile("bookshelf_([0-9a-f]{64})([0-9a-f]{8})")


def test_token_has_prefix_256_random_bits_and_checksum() -> None:
    matches = [TOKEN_FORMAT.fullmatch(secret.generate_token()) for _ in range(100)]
    pairs = [match.groups() for match in matches if match]
    assert len({random for random, _ in pairs}) == 100
    assert all(int(checksum, 16) == crc32(random.encode()) for random, checksum in pairs)


VALID_TOKEN = secret.generate_token()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="nothing"),
        pytest.param("eyJhbGciOiJub25lIn0.e30.", id="a token of another service"),
        pytest.param(VALID_TOKEN.removeprefix("bookshelf_"), id="no prefix"),
        pytest.param(VALID_TOKEN.upper(), id="upper case"),
        pytest.param(VALID_TOKEN[:-1] + f"{int(VALID_TOKEN[-1], 16) ^ 1:x}", id="a wrong checksum"),
        pytest.param(
            VALID_TOKEN[:-9] + f"{int(VALID_TOKEN[-9], 16) ^ 1:x}" + VALID_TOKEN[-8:],
            id="a changed digit",
        ),
        pytest.param(VALID_TOKEN[:-1], id="too short"),
        pytest.param(VALID_TOKEN + "0", id="too long"),
        pytest.param(f"{VALID_TOKEN} {VALID_TOKEN}", id="two tokens"),
        pytest.param(VALID_TOKEN[:-1] + "é", id="not ASCII"),
    ],
)
async def test_malformed_token_is_refused_without_a_statement(
    client: AsyncClient, statements: list[str], token: str
) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}
    response = await client.get("/users/me", headers=headers)
    check_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == 'Bearer realm="bookshelf", error="invalid_token"'
    assert statements == []


async def test_unknown_token_is_refused(client: AsyncClient, statements: list[str]) -> None:
    response = await client.get("/users/me", headers=bearer_headers(VALID_TOKEN))
    check_problem(response, 401, "unauthorized")
    assert VALID_TOKEN not in response.text
    assert sql_commands(statements) == ["SELECT"]


async def test_database_contains_only_the_sha_256_of_a_token(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    token = await log_in_for_token(client)
    assert (
        await fetch_value(database, "SELECT digest FROM tokens") == sha256(token.encode()).digest()
    )
    row = await fetch_value(database, "SELECT to_jsonb(tokens)::text FROM tokens")
    match = TOKEN_FORMAT.fullmatch(token)
    assert match
    for part in (match[1], match[1].encode().hex(), match[2]):
        assert part not in row


async def test_list_of_tokens_does_not_contain_the_tokens(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    token = await log_in_for_token(client)
    response = await client.get("/tokens", headers=bearer_headers(token))
    assert response.headers["cache-control"] == "no-store"
    [item] = response.json()["items"]
    assert list(item) == [
        "id",
        "name",
        "scope",
        "expires_at",
        "last_used_at",
        "created_at",
        "updated_at",
        "version",
    ]
    digest = sha256(token.encode()).hexdigest()
    assert not any(part in response.text for part in (token[10:74], token[-8:], digest))


@pytest.mark.private_database
async def test_tokens_passwords_and_emails_are_not_logged_even_after_errors(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await add_user(database)
    caplog.set_level(logging.DEBUG)
    token = await log_in_for_token(client)
    responses = [await log_in(client, password="battery staple")]
    for failure in (
        "SELECT",  # no failure
        "ALTER TABLE tokens RENAME TO hidden",  # an unexpected error with a traceback
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
    output = "".join(lines) + caplog.text + "".join(response.text for response in responses[3:])
    for secret_text in (PASSWORD, "battery staple", EMAIL, "ada%40", "argon2id$", token[10:74]):
        assert secret_text not in output
    assert not secret.TOKEN_PATTERN.search(output)


@pytest.mark.private_database
async def test_token_is_accepted_by_all_instances_until_one_revokes_it(
    client: AsyncClient, database: Database, database_url: str
) -> None:
    user = await add_user(database)
    token, other_token = [await add_token(database, user) for _ in range(2)]
    async with client_of_new_instance(database_url) as second_instance:
        for instance in (client, second_instance):
            assert await is_token_accepted(instance, token)
        response = await client.delete("/tokens/current", headers=bearer_headers(token))
        assert (response.status_code, response.content) == (204, b"")
        for instance in (second_instance, client):
            assert not await is_token_accepted(instance, token)
            assert await is_token_accepted(instance, other_token)


@pytest.mark.private_database
async def test_expired_token_is_refused_by_all_instances(
    client: AsyncClient,
    database: Database,
    database_url: str,
    outside_connection: asyncpg.Connection,
) -> None:
    token = await add_token(database, await add_user(database))
    async with client_of_new_instance(database_url) as second_instance:
        for instance in (client, second_instance):
            assert await is_token_accepted(instance, token)
        await outside_connection.execute("UPDATE tokens SET expires_at = clock_timestamp()")
        for instance in (second_instance, client):
            assert not await is_token_accepted(instance, token)


async def test_token_expires_after_the_configured_time(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    expires_in = timedelta(seconds=(await log_in(client)).json()["expires_in"])
    assert expires_in == timedelta(days=30)
    remaining: timedelta = await fetch_value(
        database, "SELECT expires_at - clock_timestamp() FROM tokens"
    )
    assert expires_in - timedelta(minutes=1) < remaining <= expires_in


async def test_token_has_the_current_role_of_its_user(
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
async def test_user_cannot_see_or_revoke_tokens_of_another_user(
    client: AsyncClient, database: Database, role: str
) -> None:
    token_of_bob = await add_token(database, await add_user(database, "bob@example.com"))
    token_id = await fetch_value(database, "SELECT id FROM tokens")
    headers = bearer_headers(await add_token(database, await add_user(database, role=role)))
    page = (await client.get("/tokens", headers=headers)).json()
    assert page["total"] == len(page["items"]) == 1
    assert page["items"][0]["id"] != str(token_id)
    check_problem(await client.delete(f"/tokens/{token_id}", headers=headers), 404, "not-found")
    assert await is_token_accepted(client, token_of_bob)


async def test_user_can_revoke_another_of_their_tokens_at_its_location(
    client: AsyncClient, database: Database
) -> None:
    sent_token = await add_token(database, await add_user(database))
    response = await log_in(client)
    headers = bearer_headers(sent_token)
    assert (await client.delete(response.headers["location"], headers=headers)).status_code == 204
    assert not await is_token_accepted(client, response.json()["access_token"])
    assert await is_token_accepted(client, sent_token)


async def test_deleting_user_deletes_their_tokens(client: AsyncClient, database: Database) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    token_of_bob = await add_token(database, await add_user(database, "bob@example.com"))
    assert (
        await client.request(
            "DELETE",
            f"/users/{user}",
            json={"current_password": PASSWORD},
            headers=bearer_headers(tokens[0]),
        )
    ).status_code == 204
    assert [await is_token_accepted(client, token) for token in (*tokens, token_of_bob)] == [
        False,
        False,
        True,
    ]
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 1


async def test_second_use_within_5_minutes_writes_nothing(
    client: AsyncClient, database: Database, statements: list[str]
) -> None:
    token = await add_token(database, await add_user(database))
    statements.clear()
    assert await is_token_accepted(client, token)
    assert sql_commands(statements) == ["SELECT", "UPDATE", "SELECT"]
    assert await fetch_value(database, IS_JUST_USED)
    statements.clear()
    assert await is_token_accepted(client, token)
    assert sql_commands(statements) == ["SELECT", "SELECT"]


async def test_use_after_5_minutes_is_recorded(client: AsyncClient, database: Database) -> None:
    token = await add_token(database, await add_user(database))
    for minutes, is_recorded in ((4.9, False), (5.1, True)):
        time_since_last_use = timedelta(minutes=minutes)
        update = "UPDATE tokens SET last_used_at = now() - CAST(:used AS interval) RETURNING id"
        await fetch_value(database, update, used=time_since_last_use)
        assert await is_token_accepted(client, token)
        assert await fetch_value(database, IS_JUST_USED) == is_recorded


async def test_use_of_token_changes_neither_version_nor_updated_at(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    set_updated_at = "UPDATE tokens SET updated_at = '2020-01-01Z' RETURNING updated_at"
    updated: datetime = await fetch_value(database, set_updated_at)
    assert await is_token_accepted(client, token)
    assert await fetch_value(database, "SELECT version FROM tokens") == 1
    assert await fetch_value(database, "SELECT updated_at FROM tokens") == updated


@pytest.mark.private_database
async def test_one_of_many_concurrent_first_uses_is_recorded(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    token = await add_token(database, await add_user(database))
    await outside_connection.execute(
        """
        CREATE SEQUENCE updates;
        CREATE FUNCTION count_update() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM nextval('updates'); RETURN NULL; END $$;
        CREATE TRIGGER count_update AFTER UPDATE ON tokens
        FOR EACH ROW EXECUTE FUNCTION count_update();
        """
    )
    assert all(await asyncio.gather(*(is_token_accepted(client, token) for _ in range(30))))
    assert await outside_connection.fetchval("SELECT last_value FROM updates WHERE is_called") == 1


@pytest.mark.private_database
async def test_token_is_accepted_while_recording_its_use_times_out(
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
async def test_token_is_accepted_when_the_database_is_read_only(
    database: Database, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    # Like a replica that has not been promoted yet, or a server whose disk is full.
    token = await add_token(database, await add_user(database))
    name = await outside_connection.fetchval("SELECT quote_ident(current_database())")
    await outside_connection.execute(
        f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    )
    async with client_of_new_instance(database_url) as client:
        assert await is_token_accepted(client, token)
    assert await outside_connection.fetchval("SELECT last_used_at FROM tokens") is None
