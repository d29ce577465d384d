"""Logins during a change of the password or the deletion of the user.

A login with an old password leaves no token.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from httpx import AsyncClient
from pydantic import SecretStr
from sqlalchemy import text

from app.core.db import Database
from app.tokens.schemas import LoginForm
from app.tokens.service import LoginService
from app.users.credentials import CredentialVerifier
from app.users.passwords import DUMMY_HASH, PasswordHasher
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    PASSWORD_HASH,
    WEAK_PASSWORD_HASH,
    add_token,
    add_user,
    change_user,
    fetch_value,
    is_token_accepted,
    log_in,
)
from tests.support.database_activity import start_until_blocked
from tests.support.problems import check_problem

pytestmark = pytest.mark.private_database

NEW_PASSWORD = "battery staple"
CHANGE_HASH = "UPDATE users SET password_hash = :new, password_changed_by = NULL RETURNING id"
DELETE_USERS = "DELETE FROM users RETURNING id"


@asynccontextmanager
async def uncommitted_login(
    database: Database, password_hasher: PasswordHasher
) -> AsyncIterator[str]:
    """Log in, and yield the token. The login is committed at the end of the block."""
    async with database.transaction() as session:
        verifier = CredentialVerifier(session, password_hasher)
        service = LoginService(session, verifier, token_ttl_seconds=3600, max_tokens_per_user=10)
        login = LoginForm(username=EMAIL, password=SecretStr(PASSWORD))
        _, token = await service.log_in(login, token_name="laptop", network=None)
        yield token.access_token


@pytest.mark.parametrize(
    ("password_hash", "statuses"),
    [
        pytest.param(PASSWORD_HASH, {409}, id="before the token is created"),
        pytest.param(WEAK_PASSWORD_HASH, {401, 409}, id="before the hash is replaced"),
    ],
)
async def test_login_gets_no_token_when_the_password_is_changed_before_it_finishes(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hash: str,
    statuses: set[int],
) -> None:
    await add_user(database, password_hash=password_hash)
    async with database.transaction() as session:
        await session.execute(text(CHANGE_HASH), {"new": DUMMY_HASH})
        attempt = await start_until_blocked(log_in(client), outside_connection)
    response = await attempt
    assert response.status_code in statuses, response.text
    assert await fetch_value(database, "SELECT password_hash FROM users") == DUMMY_HASH
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_login_gets_token_when_the_change_of_the_password_is_rolled_back(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await add_user(database)
    async with database.transaction() as session:
        await session.execute(text(CHANGE_HASH), {"new": DUMMY_HASH})
        attempt = await start_until_blocked(log_in(client), outside_connection)
        await session.orm.rollback()
    assert (await attempt).status_code == 201


async def test_changing_password_waits_for_login_and_revokes_its_token(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hasher: PasswordHasher,
) -> None:
    user = await add_user(database)
    sent_token = await add_token(database, user)
    assert await is_token_accepted(client, sent_token)
    passwords = {"password": NEW_PASSWORD, "current_password": PASSWORD}
    async with uncommitted_login(database, password_hasher) as token:
        change = await start_until_blocked(
            change_user(client, user, sent_token, **passwords), outside_connection
        )
    assert (await change).status_code == 200
    assert [await is_token_accepted(client, value) for value in (sent_token, token)] == [
        True,
        False,
    ]


async def test_login_gets_no_token_when_the_user_is_deleted_before_it_finishes(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await add_user(database)
    async with database.transaction() as session:
        await session.execute(text(DELETE_USERS))
        attempt = await start_until_blocked(log_in(client), outside_connection)
    check_problem(await attempt, 409, "conflict")
    check_problem(await log_in(client), 401, "unauthorized")
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_deleting_user_waits_for_login_and_deletes_its_token(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hasher: PasswordHasher,
) -> None:
    user = await add_user(database)
    async with uncommitted_login(database, password_hasher) as token:
        deletion = await start_until_blocked(client.delete(f"/users/{user}"), outside_connection)
    assert (await deletion).status_code == 204
    assert not await is_token_accepted(client, token)
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_concurrent_logins_and_password_changes_leave_no_token_of_an_old_password(
    client: AsyncClient, database: Database
) -> None:
    # A token that remains must have been created with the last password, in any order of requests.
    user = await add_user(database)
    for number in range(4):
        old, new = (PASSWORD, NEW_PASSWORD) if number % 2 == 0 else (NEW_PASSWORD, PASSWORD)
        *attempts, changed = await asyncio.gather(
            *(log_in(client, password=old) for _ in range(4)),
            client.patch(f"/users/{user}", json={"password": new}),
        )
        assert changed.status_code == 200
        assert {response.status_code for response in attempts} <= {201, 401, 409}
        assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0
        assert (await log_in(client, password=new)).status_code == 201
