"""Somebody must be left who may do everything, whatever is asked and by how many at once."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.core.errors import ConstraintViolated
from tests.support.accounts import add_token, add_user, bearer_headers, fetch_value
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.problems import check_problem

ADMINS = "SELECT count(*) FROM users WHERE role = 'admin'"
ROUNDS = 10
# Every change lasts a while after the last admin has been looked for: two at once do overlap.
LINGER = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.01); RETURN NULL; END $$;
CREATE TRIGGER linger AFTER DELETE OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION linger();
"""
# Even of the last admin: without the triggers.
CLEAR = """
SET session_replication_role = replica; DELETE FROM users; RESET session_replication_role
"""
BOTH_ENDS = [("delete", "delete"), ("demote", "demote"), ("delete", "demote")]
STATEMENTS = {
    "delete": "DELETE FROM users WHERE id = :id RETURNING id",
    "demote": "UPDATE users SET role = 'member' WHERE id = :id RETURNING id",
}


async def add_admins(database: Database, number: int = 2) -> list[int]:
    emails = [f"admin{n}@example.com" for n in range(number)]
    return [await add_user(database, email, role="admin") for email in emails]


async def end(client: AsyncClient, admin: int, how: str, **headers: str) -> Response:
    """Delete or demote an admin."""
    path = f"/users/{admin}"
    if how == "delete":
        return await client.delete(path, headers=headers)
    return await client.patch(path, json={"role": "member"}, headers=headers)


@pytest.mark.parametrize("how", STATEMENTS)
async def test_the_last_admin_stays_an_admin(
    client: AsyncClient, database: Database, how: str
) -> None:
    [admin] = await add_admins(database, 1)
    await add_user(database)
    headers = bearer_headers(await add_token(database, admin))
    response = await end(client, admin, how, **headers)
    problem = check_problem(response, 409, "conflict")
    assert problem["detail"] == "The last admin can be neither deleted nor demoted"
    me = await client.get("/users/me", headers=headers)  # the token is still there, too
    assert (me.status_code, me.json()["role"], me.headers["etag"]) == (200, "admin", '"1"')


async def test_the_last_admin_may_be_changed_otherwise_and_stay_an_admin(
    client: AsyncClient, database: Database
) -> None:
    [admin] = await add_admins(database, 1)
    body = {"name": "Root", "role": "admin"}
    response = await client.patch(f"/users/{admin}", json=body)
    assert (response.status_code, response.json()["role"]) == (200, "admin")


@pytest.mark.parametrize("how", STATEMENTS)
async def test_of_two_admins_one_may_go(client: AsyncClient, database: Database, how: str) -> None:
    first, second = await add_admins(database)
    headers = bearer_headers(await add_token(database, second))
    assert (await end(client, first, how, **headers)).is_success
    check_problem(await end(client, second, how, **headers), 409, "conflict")
    assert await fetch_value(database, ADMINS) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM users RETURNING id",
        "UPDATE users SET role = 'editor' RETURNING id",
        """
        WITH gone AS (DELETE FROM users WHERE id = :id RETURNING id)
        UPDATE users SET role = 'member' WHERE id <> :id AND (SELECT count(*) FROM gone) = 1
        RETURNING id
        """,
    ],
)
async def test_not_even_one_statement_of_sql_ends_all_admins(
    database: Database, statement: str
) -> None:
    first, *_ = await add_admins(database, 3)
    with pytest.raises(ConstraintViolated) as raised:
        await fetch_value(database, statement.replace(":id", str(first)))
    assert raised.value.constraint == "users_last_admin"
    assert await fetch_value(database, ADMINS) == 3


async def test_one_statement_of_sql_may_end_all_admins_but_one(database: Database) -> None:
    first, *_ = await add_admins(database, 3)
    await fetch_value(database, "DELETE FROM users WHERE id <> :id RETURNING id", id=first)
    assert await fetch_value(database, ADMINS) == 1


@pytest.mark.private_database
@pytest.mark.parametrize(("first", "second"), BOTH_ENDS)
async def test_of_the_last_two_admins_one_stays_when_both_are_ended_at_once(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    first: str,
    second: str,
) -> None:
    await outside_connection.execute(LINGER)
    for number in range(ROUNDS):
        admins = await add_admins(database)
        ends = [end(client, *each) for each in zip(admins, (first, second), strict=True)]
        # Each of them is the first to be asked in half of the rounds.
        responses = await asyncio.gather(*(ends if number % 2 else reversed(ends)))
        assert sorted(response.status_code // 100 for response in responses) == [2, 4]
        [refused] = [response for response in responses if not response.is_success]
        check_problem(refused, 409, "conflict")
        assert await fetch_value(database, ADMINS) == 1
        await outside_connection.execute(CLEAR)


@pytest.mark.private_database
@pytest.mark.parametrize(("held", "asked"), [*BOTH_ENDS, ("demote", "delete")])
async def test_the_second_of_two_waits_until_it_is_known_whether_the_first_is_gone(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    held: str,
    asked: str,
) -> None:
    for committed in (True, False):
        first, second = await add_admins(database)
        async with database.transaction() as session:
            await session.execute(text(STATEMENTS[held]), {"id": first})
            attempt = asyncio.create_task(end(client, second, asked))
            await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
            if not committed:
                await session.orm.rollback()
        assert (await attempt).status_code // 100 == (4 if committed else 2)
        assert await fetch_value(database, ADMINS) == 1
        await outside_connection.execute(CLEAR)


@pytest.mark.private_database
async def test_of_many_admins_who_all_go_at_once_one_stays(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(LINGER)
    admins = await add_admins(database, 12)
    hows = ["delete", "demote"] * 6
    responses = await asyncio.gather(
        *(end(client, *each) for each in zip(admins, hows, strict=True))
    )
    assert sorted(response.status_code // 100 for response in responses) == [2] * 11 + [4]
    assert await fetch_value(database, ADMINS) == 1
