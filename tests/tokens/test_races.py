"""Logging in while the password changes or the user goes: an old password leaves no token."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient
from sqlalchemy import text

from app.core.database import Database
from tests.accounts import HASH, PASSWORD, WEAK_HASH, add_user, ask, log_in
from tests.backends import WAITING, until
from tests.problems import problem_of

pytestmark = pytest.mark.commits

NEW = "battery staple"
CHANGE = "UPDATE users SET password_hash = :new, password_changed_by = NULL RETURNING id"
DELETE = "DELETE FROM users RETURNING id"


@pytest.mark.parametrize(
    ("kept", "statuses"),
    [
        pytest.param(HASH, {409}, id="before the token is made"),
        pytest.param(WEAK_HASH, {401, 409}, id="before the hash is replaced"),
    ],
)
async def test_a_log_in_that_a_change_of_the_password_overtakes_gets_no_token(
    client: AsyncClient,
    database: Database,
    other: asyncpg.Connection,
    kept: str,
    statuses: set[int],
) -> None:
    await add_user(database, password_hash=kept)
    async with database.session() as session:
        await session.rows(text(CHANGE), {"new": "another"})
        attempt = asyncio.create_task(log_in(client))
        await until(1, other, WAITING)
    answer = await attempt
    assert answer.status_code in statuses, answer.text
    assert await ask(database, "SELECT password_hash FROM users") == "another"
    assert await ask(database, "SELECT count(*) FROM tokens") == 0


async def test_a_log_in_that_a_change_of_the_password_would_have_overtaken_gets_a_token(
    client: AsyncClient, database: Database, other: asyncpg.Connection
) -> None:
    await add_user(database)
    async with database.session() as session:
        await session.rows(text(CHANGE), {"new": "another"})
        attempt = asyncio.create_task(log_in(client))
        await until(1, other, WAITING)
        await session.rollback()
    assert (await attempt).status_code == 201


async def test_a_log_in_that_the_deletion_of_the_user_overtakes_gets_no_token(
    client: AsyncClient, database: Database, other: asyncpg.Connection
) -> None:
    await add_user(database)
    async with database.session() as session:
        await session.rows(text(DELETE), {})
        attempt = asyncio.create_task(log_in(client))
        await until(1, other, WAITING)
    problem_of(await attempt, 409, "conflict")
    problem_of(await log_in(client), 401, "unauthorized")
    assert await ask(database, "SELECT count(*) FROM tokens") == 0


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
        assert {answer.status_code for answer in attempts} <= {201, 401, 409}
        assert await ask(database, "SELECT count(*) FROM tokens") == 0
        assert (await log_in(client, password=new)).status_code == 201
