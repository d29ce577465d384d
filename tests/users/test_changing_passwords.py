"""Changes of passwords: the current password that they need, and the tokens that they revoke."""

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
    change_user,
    fetch_value,
    is_token_accepted,
    log_in,
    log_in_for_token,
)
from tests.support.database_activity import start_until_blocked
from tests.support.problems import check_field_error, check_problem, field_error_locations

NEW_PASSWORD = "battery staple"
CHANGE_HASH = (
    "UPDATE users SET password_hash = :new, password_changed_by = NULL, version = version + 1 "
    "RETURNING id"
)
SELECT_HASH = "SELECT password_hash FROM users WHERE email = :email"


async def change_password(
    client: AsyncClient,
    user: int,
    token: str | None,
    current_password: str | None = None,
    **other_fields: str,
) -> Response:
    """Send a request that changes the password of a user to NEW_PASSWORD."""
    changes = {"password": NEW_PASSWORD, **other_fields}
    if current_password is not None:
        changes["current_password"] = current_password
    return await change_user(client, user, token, **changes)


async def are_accepted(client: AsyncClient, *tokens: str) -> list[bool]:
    return [await is_token_accepted(client, token) for token in tokens]


async def test_changing_password_revokes_all_other_tokens_of_the_user(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    sent_token, second, third = [await add_token(database, user) for _ in range(3)]
    token_of_bob = await add_token(database, await add_user(database, "bob@example.com"))
    response = await change_password(client, user, sent_token, PASSWORD)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    tokens = (sent_token, second, third, token_of_bob)
    assert await are_accepted(client, *tokens) == [True, False, False, True]
    check_problem(await log_in(client), 401, "unauthorized")
    assert (await log_in(client, password=NEW_PASSWORD)).status_code == 201


async def test_changing_password_again_revokes_the_token_of_the_previous_change(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    first, second = [await add_token(database, user) for _ in range(2)]
    assert (await change_password(client, user, first, PASSWORD)).status_code == 200
    second = await log_in_for_token(client, password=NEW_PASSWORD)
    assert (await change_password(client, user, second, NEW_PASSWORD)).status_code == 200
    assert await are_accepted(client, first, second) == [False, True]
    # The same token can change the password again.
    third = await add_token(database, user)
    assert (await change_password(client, user, second, NEW_PASSWORD)).status_code == 200
    assert await are_accepted(client, second, third) == [True, False]


@pytest.mark.parametrize("role", ["member", "editor", "admin"])
async def test_changing_own_password_without_the_current_password_returns_422(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    sent_token, second = [await add_token(database, user) for _ in range(2)]
    for current_password, code in (
        (None, "missing"),
        (WRONG_PASSWORD, "wrong_password"),
        (NEW_PASSWORD, "wrong_password"),
    ):
        response = await change_password(
            client, user, sent_token, current_password, name="Countess"
        )
        check_field_error(response, "/current_password", code)
        assert not any(password in response.text for password in (WRONG_PASSWORD, NEW_PASSWORD))
    assert await fetch_value(database, SELECT_HASH, email=EMAIL) == PASSWORD_HASH
    assert await fetch_value(database, "SELECT version FROM users") == 1
    assert await are_accepted(client, sent_token, second) == [True, True]


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_current_password_without_new_password_returns_422(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    token = await add_token(database, user)
    for changes in ({}, {"name": "Countess"}):
        response = await change_user(client, user, token, current_password=PASSWORD, **changes)
        assert field_error_locations(response) == [{"pointer": "/current_password"}]
        assert PASSWORD not in response.text


async def test_changing_other_fields_revokes_no_tokens(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    changes = {"name": "Countess", "email": "countess@example.com", "current_password": PASSWORD}
    response = await change_user(client, user, tokens[0], **changes)
    assert response.status_code == 200
    assert await are_accepted(client, *tokens) == [True, True]


async def test_changing_password_with_stale_etag_revokes_no_tokens(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    body = {"password": NEW_PASSWORD, "current_password": PASSWORD}
    headers = bearer_headers(tokens[0]) | {"If-Match": '"7"'}
    response = await client.patch(f"/users/{user}", json=body, headers=headers)
    check_problem(response, 412, "precondition-failed")
    assert await are_accepted(client, *tokens) == [True, True]


async def test_admin_changes_password_of_another_user_without_the_current_password(
    client: AsyncClient, database: Database
) -> None:
    admin = await add_user(database, "root@example.com", role="admin")
    user = await add_user(database)
    token = await add_token(database, admin)
    user_tokens = [await add_token(database, user) for _ in range(2)]
    assert (await change_password(client, user, token)).status_code == 200
    assert await are_accepted(client, token, *user_tokens) == [True, False, False]
    assert (await log_in(client, password=NEW_PASSWORD)).status_code == 201


async def test_admin_who_sends_a_wrong_current_password_of_another_user_gets_422(
    client: AsyncClient, database: Database
) -> None:
    admin = await add_user(database, "root@example.com", role="admin")
    user = await add_user(database)
    token = await add_token(database, admin)
    response = await change_password(client, user, token, WRONG_PASSWORD)
    assert field_error_locations(response) == [{"pointer": "/current_password"}]
    assert (await change_password(client, user, token, PASSWORD)).status_code == 200


async def test_changing_password_without_token_revokes_all_tokens(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    tokens = [await add_token(database, user) for _ in range(2)]
    for number in range(2):  # the second time, `password_changed_by` is already NULL
        assert (await change_password(client, user, None)).status_code == 200
        assert await are_accepted(client, *tokens) == [False, False]
        tokens = [await add_token(database, user) for _ in range(2 - number)]
    assert (await change_password(client, user, None)).status_code == 200
    assert await are_accepted(client, *tokens) == [False]


async def test_changing_password_of_another_user_returns_404(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    bob = await add_user(database, "bob@example.com")
    for user in (bob, 1_000_000_000):
        for current_password in (None, PASSWORD, WRONG_PASSWORD):
            response = await change_password(client, user, token, current_password)
            check_problem(response, 404, "not-found")
    assert await fetch_value(database, "SELECT count(*) FROM attempt_counters") == 0


async def test_wrong_current_passwords_block_further_guesses_with_the_same_token(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    token = await add_token(database, user)
    for number in range(10):
        response = await change_password(client, user, token, f"the guess {number}")
        check_field_error(response, "/current_password", "wrong_password")
    response = await change_password(client, user, token, PASSWORD)
    check_problem(response, 429, "too-many-requests")
    assert int(response.headers["retry-after"]) >= 1


async def test_guesses_with_a_stolen_token_block_neither_logins_nor_other_tokens_of_the_owner(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    stolen_token = await add_token(database, user)
    for number in range(11):
        response = await change_password(client, user, stolen_token, f"the guess {number}")
    check_problem(response, 429, "too-many-requests")
    login = await log_in(client)
    assert login.status_code == 201
    response = await change_password(client, user, login.json()["access_token"], PASSWORD)
    assert response.status_code == 200
    assert not await is_token_accepted(client, stolen_token)


async def test_failed_logins_do_not_block_changes_of_the_password(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    token = await add_token(database, user)
    for number in range(11):
        response = await log_in(client, EMAIL, f"the guess {number}")
    check_problem(response, 429, "too-many-requests")
    assert (await change_password(client, user, token, PASSWORD)).status_code == 200


async def test_guesses_count_for_changes_of_the_email(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    token = await add_token(database, user)
    for number in range(10):
        await change_password(client, user, token, f"the guess {number}")
    changes = {"email": "countess@example.com", "current_password": PASSWORD}
    response = await change_user(client, user, token, **changes)
    check_problem(response, 429, "too-many-requests")


async def test_password_with_weak_hash_can_be_changed(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, password_hash=WEAK_PASSWORD_HASH)
    response = await change_password(client, user, await add_token(database, user), PASSWORD)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (await log_in(client, password=NEW_PASSWORD)).status_code == 201


@pytest.mark.private_database
@pytest.mark.parametrize(
    "password_hash", [PASSWORD_HASH, WEAK_PASSWORD_HASH], ids=["strong", "weak"]
)
async def test_concurrent_change_of_password_makes_a_verified_password_invalid(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hash: str,
) -> None:
    # A user changes a password that has become known to someone who also has a token of the user.
    # The change of that person must not win.
    user = await add_user(database, password_hash=password_hash)
    stolen_token = await add_token(database, user)
    assert await is_token_accepted(client, stolen_token)
    async with database.transaction() as session:
        await session.execute(text(CHANGE_HASH), {"new": DUMMY_HASH})
        attempt = await start_until_blocked(
            change_password(client, user, stolen_token, PASSWORD), outside_connection
        )
    response = await attempt
    assert response.status_code in {409, 422}, response.text
    assert await fetch_value(database, SELECT_HASH, email=EMAIL) == DUMMY_HASH
    assert not await is_token_accepted(client, stolen_token)
