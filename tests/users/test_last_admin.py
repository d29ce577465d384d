"""The last admin can be neither deleted nor demoted, not even by concurrent requests."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.core.errors import ConstraintViolated
from tests.support.accounts import PASSWORD, add_token, add_user, bearer_headers, fetch_value
from tests.support.database_activity import start_until_blocked
from tests.support.problems import check_problem

COUNT_ADMINS = "SELECT count(*) FROM users WHERE role = 'admin'"
ROUNDS = 10
# Delay every change after the check for the last admin, so that concurrent changes overlap.
DELAY_CHANGES = """
CREATE FUNCTION delay_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.01); RETURN NULL; END $$;
CREATE TRIGGER delay_change AFTER DELETE OR UPDATE ON users
FOR EACH ROW EXECUTE FUNCTION delay_change();
"""
# Without triggers, so that the last admin is deleted too.
DELETE_ALL_USERS = """
SET session_replication_role = replica; DELETE FROM users; RESET session_replication_role
"""
CHANGE_PAIRS = [("delete", "delete"), ("demote", "demote"), ("delete", "demote")]
STATEMENTS = {
    "delete": "DELETE FROM users WHERE id = :id RETURNING id",
    "demote": "UPDATE users SET role = 'member' WHERE id = :id RETURNING id",
}


async def add_admins(database: Database, count: int = 2) -> list[int]:
    """Add admins, and return their ids."""
    emails = [f"admin{n}@example.com" for n in range(count)]
    return [await add_user(database, email, role="admin") for email in emails]


async def delete_or_demote(
    client: AsyncClient, admin: int, change: str, **headers: str
) -> Response:
    """Delete or demote an admin. `change` is "delete" or "demote".

    The request has the password, because the token in `headers` may be the admin's own.
    """
    path = f"/users/{admin}"
    if change == "delete":
        body = {"current_password": PASSWORD}
        return await client.request("DELETE", path, json=body, headers=headers)
    return await client.patch(path, json={"role": "member"}, headers=headers)


@pytest.mark.parametrize("change", STATEMENTS)
async def test_last_admin_cannot_be_deleted_or_demoted(
    client: AsyncClient, database: Database, change: str
) -> None:
    [admin] = await add_admins(database, 1)
    await add_user(database)
    headers = bearer_headers(await add_token(database, admin))
    response = await delete_or_demote(client, admin, change, **headers)
    problem = check_problem(response, 409, "conflict")
    assert problem["detail"] == "The last admin can be neither deleted nor demoted"
    me = await client.get("/users/me", headers=headers)  # the token is also kept
    assert (me.status_code, me.json()["role"], me.headers["etag"]) == (200, "admin", '"1"')


async def test_last_admin_can_change_other_fields(client: AsyncClient, database: Database) -> None:
    [admin] = await add_admins(database, 1)
    body = {"name": "Root", "role": "admin"}
    response = await client.patch(f"/users/{admin}", json=body)
    assert (response.status_code, response.json()["role"]) == (200, "admin")


@pytest.mark.parametrize("change", STATEMENTS)
async def test_one_of_two_admins_can_be_deleted_or_demoted(
    client: AsyncClient, database: Database, change: str
) -> None:
    first, second = await add_admins(database)
    headers = bearer_headers(await add_token(database, second))
    assert (await delete_or_demote(client, first, change, **headers)).is_success
    check_problem(await delete_or_demote(client, second, change, **headers), 409, "conflict")
    assert await fetch_value(database, COUNT_ADMINS) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users RETURNING id",
        "UPDATE users SET role = 'editor' RETURNING id",
        """
        WITH deleted AS (DELETE FROM users WHERE id = :id RETURNING id)
        UPDATE users SET role = 'member' WHERE id <> :id AND (SELECT count(*) FROM deleted) = 1
        RETURNING id
        """,
    ],
)
async def test_sql_statement_cannot_delete_or_demote_all_admins(
    database: Database, statement: str
) -> None:
    first, *_ = await add_admins(database, 3)
    with pytest.raises(ConstraintViolated) as raised:
        await fetch_value(database, statement.replace(":id", str(first)))
    assert raised.value.constraint_name == "users_last_admin"
    assert await fetch_value(database, COUNT_ADMINS) == 3


async def test_sql_statement_can_delete_all_admins_but_one(database: Database) -> None:
    first, *_ = await add_admins(database, 3)
    await fetch_value(database, "DELETE FROM users WHERE id <> :id RETURNING id", id=first)
    assert await fetch_value(database, COUNT_ADMINS) == 1


@pytest.mark.private_database
@pytest.mark.parametrize(("first", "second"), CHANGE_PAIRS)
async def test_one_admin_stays_when_the_last_two_are_deleted_or_demoted_concurrently(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    first: str,
    second: str,
) -> None:
    await outside_connection.execute(DELAY_CHANGES)
    for number in range(ROUNDS):
        admins = await add_admins(database)
        requests = [
            delete_or_demote(client, admins[0], first),
            delete_or_demote(client, admins[1], second),
        ]
        # Each request is sent first in half of the rounds.
        if number % 2 == 0:
            requests.reverse()
        responses = await asyncio.gather(*requests)
        assert sorted(response.status_code // 100 for response in responses) == [2, 4]
        [refused] = [response for response in responses if not response.is_success]
        check_problem(refused, 409, "conflict")
        assert await fetch_value(database, COUNT_ADMINS) == 1
        await outside_connection.execute(DELETE_ALL_USERS)


@pytest.mark.private_database
@pytest.mark.parametrize(
    ("uncommitted_change", "requested_change"), [*CHANGE_PAIRS, ("demote", "delete")]
)
async def test_second_change_waits_for_the_outcome_of_the_first(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    uncommitted_change: str,
    requested_change: str,
) -> None:
    for is_committed in (True, False):
        first, second = await add_admins(database)
        async with database.transaction() as session:
            await session.execute(text(STATEMENTS[uncommitted_change]), {"id": first})
            attempt = await start_until_blocked(
                delete_or_demote(client, second, requested_change), outside_connection
            )
            if not is_committed:
                await session.orm.rollback()
        assert (await attempt).status_code // 100 == (4 if is_committed else 2)
        assert await fetch_value(database, COUNT_ADMINS) == 1
        await outside_connection.execute(DELETE_ALL_USERS)


@pytest.mark.private_database
async def test_one_admin_stays_when_many_are_deleted_or_demoted_concurrently(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(DELAY_CHANGES)
    admins = await add_admins(database, 12)
    changes = ["delete", "demote"] * 6
    responses = await asyncio.gather(
        *(
            delete_or_demote(client, admin, change)
            for admin, change in zip(admins, changes, strict=True)
        )
    )
    assert sorted(response.status_code // 100 for response in responses) == [2] * 11 + [4]
    assert await fetch_value(database, COUNT_ADMINS) == 1
