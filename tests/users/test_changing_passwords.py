"""A new password: who needs the old one for it, and whom it logs out."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.users.passwords import DUMMY_HASH
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
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.problems import check_problem, field_error_locations

NEW = "battery staple"
CHANGE = (
    "UPDATE users SET password_hash = :new, password_changed_by = NULL, version = version + 1 "
    "RETURNING id"
)
KEPT = "SELECT password_hash FROM users WHERE email = :email"


async def change(
    client: AsyncClient, user: int, token: str | None, current: str | None = None, **more: str
) -> Response:
    """Ask for the password NEW."""
    body = {"password": NEW, **({} if current is None else {"current_password": current}), **more}
    headers = bearer_headers(token) if token else {}
    return await client.patch(f"/users/{user}", json=body, headers=headers)


async def which_work(client: AsyncClient, *tokens: str) -> list[bool]:
    return [await is_token_accepted(client, token) for token in tokens]


async def test_a_new_password_logs_out_all_but_the_one_who_set_it(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    mine, second, third = [await add_token(database, user) for _ in range(3)]
    theirs = await add_token(database, await add_user(database, "bob@example.com"))
    response = await change(client, user, mine, PASSWORD)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    tokens = (mine, second, third, theirs)
    assert await which_work(client, *tokens) == [True, False, False, True]
    check_problem(await log_in(client), 401, "unauthorized")
    assert (await log_in(client, password=NEW)).status_code == 201


async def test_the_next_new_password_logs_out_the_one_who_set_the_last(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    first, second = [await add_token(database, user) for _ in range(2)]
    assert (await change(client, user, first, PASSWORD)).status_code == 200
    second = (await log_in(client, password=NEW)).json()["access_token"]
    assert (await change(client, user, second, NEW)).status_code == 200
    assert await which_work(client, first, second) == [False, True]
    # And one's own may set it again.
    third = await add_token(database, user)
    assert (await change(client, user, second, NEW)).status_code == 200
    assert await which_work(client, second, third) == [True, False]


@pytest.mark.parametrize("role", ["member", "editor"])
async def test_a_new_password_does_not_come_without_the_current_one(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    mine, second = [await add_token(database, user) for _ in range(2)]
    for current, code in (
        (None, "missing"),
        (WRONG_PASSWORD, "wrong_password"),
        (NEW, "wrong_password"),
    ):
        response = await change(client, user, mine, current, name="Countess")
        assert field_error_locations(response) == [{"pointer": "/current_password"}]
        assert response.json()["errors"][0]["code"] == code
        assert not any(told in response.text for told in (WRONG_PASSWORD, NEW))
    assert await fetch_value(database, KEPT, email=EMAIL) == PASSWORD_HASH
    assert await fetch_value(database, "SELECT version FROM users") == 1
    assert await which_work(client, mine, second) == [True, True]


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_the_current_password_does_not_come_without_a_new_one(
    client: AsyncClient, database: Database, statements: list[str], role: str
) -> None:
    user = await add_user(database, role=role)
    headers = bearer_headers(await add_token(database, user))
    for body in ({}, {"name": "Countess"}):
        sent = {"current_password": PASSWORD, **body}
        response = await client.patch(f"/users/{user}", json=sent, headers=headers)
        assert field_error_locations(response) == [{"pointer": "/current_password"}]
        assert PASSWORD not in response.text


async def test_what_is_not_of_the_password_logs_nobody_out(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    body = {"name": "Countess", "email": "countess@example.com"}
    response = await client.patch(f"/users/{user}", json=body, headers=bearer_headers(tokens[0]))
    assert response.status_code == 200
    assert await which_work(client, *tokens) == [True, True]


async def test_a_stale_new_password_logs_nobody_out(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    body = {"password": NEW, "current_password": PASSWORD}
    headers = bearer_headers(tokens[0]) | {"If-Match": '"7"'}
    response = await client.patch(f"/users/{user}", json=body, headers=headers)
    check_problem(response, 412, "precondition-failed")
    assert await which_work(client, *tokens) == [True, True]


async def test_an_admin_sets_passwords_without_the_current_one(
    client: AsyncClient, database: Database
) -> None:
    admin, user = (
        await add_user(database, "root@example.com", role="admin"),
        await add_user(database),
    )
    mine, second = [await add_token(database, admin) for _ in range(2)]
    theirs = [await add_token(database, user) for _ in range(2)]
    assert (await change(client, user, mine)).status_code == 200
    assert await which_work(client, mine, second, *theirs) == [True, True, False, False]
    assert (await log_in(client, password=NEW)).status_code == 201
    assert (await change(client, admin, mine)).status_code == 200
    assert await which_work(client, mine, second) == [True, False]


async def test_an_admin_who_gives_the_current_password_must_give_the_right_one(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, role="admin")
    token = await add_token(database, user)
    response = await change(client, user, token, WRONG_PASSWORD)
    assert field_error_locations(response) == [{"pointer": "/current_password"}]
    assert (await change(client, user, token, PASSWORD)).status_code == 200


async def test_a_password_that_anybody_may_set_logs_everybody_out(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    for number in range(2):  # the second time no other token has changed it
        assert (await change(client, user, None)).status_code == 200
        assert await which_work(client, *tokens) == [False, False]
        tokens = [await add_token(database, user) for _ in range(2 - number)]
    assert (await change(client, user, None)).status_code == 200
    assert await which_work(client, *tokens) == [False]


async def test_of_another_user_one_does_not_learn_by_changing_the_password(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    theirs = await add_user(database, "bob@example.com")
    for user in (theirs, 1_000_000_000):
        for current in (None, PASSWORD, WRONG_PASSWORD):
            check_problem(await change(client, user, token, current), 404, "not-found")
    assert await fetch_value(database, "SELECT count(*) FROM login_failures") == 0


async def test_whoever_has_found_a_token_cannot_guess_the_password_with_it(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    token = await add_token(database, user)
    for number in range(10):
        response = await change(client, user, token, f"the guess {number}")
        assert field_error_locations(response) == [{"pointer": "/current_password"}]
        assert response.json()["errors"][0]["code"] == "wrong_password"
    refused = [await change(client, user, token, PASSWORD), await log_in(client)]
    for response in refused:
        check_problem(response, 429, "too-many-requests")
        assert response.headers["retry-after"] == "1"
    # They are of the account alone: who else is at the address has no part in it.
    assert await fetch_value(database, "SELECT array_agg(kind::text) FROM login_failures") == [
        "account"
    ]
    later = "UPDATE login_failures SET failed_at = now() - interval '1 second' RETURNING kind"
    await fetch_value(database, later)
    assert (await change(client, user, token, PASSWORD)).status_code == 200
    assert await fetch_value(database, "SELECT count(*) FROM login_failures") == 0


async def test_failures_to_log_in_count_for_changing_the_password_too(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, "Ada@example.com")
    token = await add_token(database, user)
    await log_in(client, "ADA@example.com", WRONG_PASSWORD)
    await fetch_value(database, "UPDATE login_failures SET failures = 9 RETURNING kind")
    assert (await change(client, user, token, WRONG_PASSWORD)).status_code == 422
    check_problem(await change(client, user, token, PASSWORD), 429, "too-many-requests")


async def test_a_new_email_does_not_bring_new_guesses(
    client: AsyncClient, database: Database
) -> None:
    # The bearer of a token changes the email as often as he likes.
    user = await add_user(database)
    token = await add_token(database, user)
    assert (await change(client, user, token, WRONG_PASSWORD)).status_code == 422
    await fetch_value(database, "UPDATE login_failures SET failures = 10 RETURNING kind")
    body = {"email": "countess@example.com"}
    assert (
        await client.patch(f"/users/{user}", json=body, headers=bearer_headers(token))
    ).is_success
    for response in (
        await change(client, user, token, PASSWORD),
        await log_in(client, "countess@example.com"),
    ):
        check_problem(response, 429, "too-many-requests")


async def test_a_weak_hash_of_the_current_password_is_no_hindrance(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, password_hash=WEAK_PASSWORD_HASH)
    response = await change(client, user, await add_token(database, user), PASSWORD)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (await log_in(client, password=NEW)).status_code == 201


@pytest.mark.private_database
@pytest.mark.parametrize("kept", [PASSWORD_HASH, WEAK_PASSWORD_HASH], ids=["strong", "weak"])
async def test_what_is_no_longer_the_password_by_then_does_not_set_a_new_one(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection, kept: str
) -> None:
    # Whoever changes a password because another has it and a token must not lose to him.
    user = await add_user(database, password_hash=kept)
    found = await add_token(database, user)
    assert await is_token_accepted(client, found)
    async with database.transaction() as session:
        await session.execute(text(CHANGE), {"new": DUMMY_HASH})
        attempt = asyncio.create_task(change(client, user, found, PASSWORD))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    response = await attempt
    assert response.status_code in {409, 422}, response.text
    assert await fetch_value(database, KEPT, email=EMAIL) == DUMMY_HASH
    assert not await is_token_accepted(client, found)
