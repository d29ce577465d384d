"""Logging in while the password changes or the user goes: an old password leaves no token."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from httpx import AsyncClient
from pydantic import SecretStr
from sqlalchemy import text

from app.core.db import Database
from app.tokens.schemas import LogIn
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
    bearer_headers,
    fetch_value,
    is_token_accepted,
    log_in,
)
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.problems import check_problem

pytestmark = pytest.mark.private_database

NEW = "battery staple"
CHANGE = "UPDATE users SET password_hash = :new, password_changed_by = NULL RETURNING id"
DELETE = "DELETE FROM users RETURNING id"


@asynccontextmanager
async def logged_in(database: Database, password_hasher: PasswordHasher) -> AsyncIterator[str]:
    """A token got with the password, of a log-in that is not committed until the block ends."""
    async with database.transaction() as session:
        logins = LoginService(session, CredentialVerifier(session, password_hasher), 3600)
        data = LogIn(username=EMAIL, password=SecretStr(PASSWORD), name="a token")
        yield (await logins.create(data, "laptop", None))[1].access_token


@pytest.mark.parametrize(
    ("kept", "statuses"),
    [
        pytest.param(PASSWORD_HASH, {409}, id="before the token is made"),
        pytest.param(WEAK_PASSWORD_HASH, {401, 409}, id="before the hash is replaced"),
    ],
)
async def test_a_log_in_that_a_change_of_the_password_overtakes_gets_no_token(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    kept: str,
    statuses: set[int],
) -> None:
    await add_user(database, password_hash=kept)
    async with database.transaction() as session:
        await session.execute(text(CHANGE), {"new": DUMMY_HASH})
        attempt = asyncio.create_task(log_in(client))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    response = await attempt
    assert response.status_code in statuses, response.text
    assert await fetch_value(database, "SELECT password_hash FROM users") == DUMMY_HASH
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_a_log_in_that_a_change_of_the_password_would_have_overtaken_gets_a_token(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await add_user(database)
    async with database.transaction() as session:
        await session.execute(text(CHANGE), {"new": DUMMY_HASH})
        attempt = asyncio.create_task(log_in(client))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
        await session.orm.rollback()
    assert (await attempt).status_code == 201


async def test_a_change_of_the_password_waits_for_a_log_in_and_revokes_its_token(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hasher: PasswordHasher,
) -> None:
    user = await add_user(database)
    mine = await add_token(database, user)
    assert await is_token_accepted(client, mine)
    body = {"password": NEW, "current_password": PASSWORD}
    async with logged_in(database, password_hasher) as token:
        change = client.patch(f"/users/{user}", json=body, headers=bearer_headers(mine))
        changing = asyncio.create_task(change)
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    assert (await changing).status_code == 200
    assert [await is_token_accepted(client, each) for each in (mine, token)] == [True, False]


async def test_a_log_in_that_the_deletion_of_the_user_overtakes_gets_no_token(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await add_user(database)
    async with database.transaction() as session:
        await session.execute(text(DELETE))
        attempt = asyncio.create_task(log_in(client))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    check_problem(await attempt, 409, "conflict")
    check_problem(await log_in(client), 401, "unauthorized")
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_the_deletion_of_a_user_waits_for_a_log_in_and_takes_its_token_along(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hasher: PasswordHasher,
) -> None:
    user = await add_user(database)
    async with logged_in(database, password_hasher) as token:
        deletion = asyncio.create_task(client.delete(f"/users/{user}"))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    assert (await deletion).status_code == 204
    assert not await is_token_accepted(client, token)
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0


async def test_log_ins_and_changes_of_the_password_at_once_leave_no_token_of_an_old_one(
    client: AsyncClient, database: Database
) -> None:
    # Whatever the order was: what is left has been got with the password that is the last.
    user = await add_user(database)
    for number in range(4):
        old, new = (PASSWORD, NEW) if number % 2 == 0 else (NEW, PASSWORD)
        *attempts, changed = await asyncio.gather(
            *(log_in(client, password=old) for _ in range(4)),
            client.patch(f"/users/{user}", json={"password": new}),
        )
        assert changed.status_code == 200
        assert {response.status_code for response in attempts} <= {201, 401, 409}
        assert await fetch_value(database, "SELECT count(*) FROM tokens") == 0
        assert (await log_in(client, password=new)).status_code == 201
