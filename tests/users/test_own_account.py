"""Changes of the own account, which need the current password: someone may have stolen the token.

`test_changing_passwords.py` has the tests of changes of the password.
"""

from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
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
    log_in,
)
from tests.support.database_activity import start_until_blocked
from tests.support.factories import Json
from tests.support.multipart import stream_chunks
from tests.support.problems import check_field_error, check_problem

NEW_EMAIL = "countess@example.com"
SELECT_USER = "SELECT ROW(email, version) FROM users WHERE id = :id"
CHANGE_HASH = "UPDATE users SET password_hash = :new, password_changed_by = NULL"
every_role = pytest.mark.parametrize("role", ["member", "editor", "admin"])
every_hash = pytest.mark.parametrize(
    "password_hash", [PASSWORD_HASH, WEAK_PASSWORD_HASH], ids=["strong", "weak"]
)


async def delete_user(
    client: AsyncClient, user: int, token: str, body: Json | None = None, **headers: str
) -> Response:
    """Delete a user. Without a body, the request has no content."""
    arguments: dict[str, Any] = {} if body is None else {"json": body}
    all_headers = bearer_headers(token) | headers
    return await client.request("DELETE", f"/users/{user}", headers=all_headers, **arguments)


# The email


@every_role
async def test_changing_own_email_without_the_current_password_returns_422(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    token = await add_token(database, user)
    response = await change_user(client, user, token, email=NEW_EMAIL, name="Countess")
    check_field_error(response, "/current_password", "missing")
    response = await change_user(
        client, user, token, email=NEW_EMAIL, current_password=WRONG_PASSWORD
    )
    check_field_error(response, "/current_password", "wrong_password")
    assert await fetch_value(database, SELECT_USER, id=user) == (EMAIL, 1)


@every_role
async def test_changing_own_email_with_the_current_password_succeeds(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    token = await add_token(database, user)
    response = await change_user(client, user, token, email=NEW_EMAIL, current_password=PASSWORD)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (await log_in(client, NEW_EMAIL)).status_code == 201


@pytest.mark.parametrize("email", [EMAIL, "ada@EXAMPLE.COM"])
async def test_unchanged_email_needs_no_password_and_changes_nothing(
    client: AsyncClient, database: Database, email: str
) -> None:
    # A client may send back all fields of the user that it has read.
    user = await add_user(database)
    response = await change_user(client, user, await add_token(database, user), email=email)
    assert (response.status_code, response.headers["etag"]) == (200, '"1"')
    assert await fetch_value(database, SELECT_USER, id=user) == (EMAIL, 1)


async def test_unchanged_email_with_a_stale_etag_returns_412(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    headers = bearer_headers(await add_token(database, user)) | {"If-Match": '"7"'}
    response = await client.patch(f"/users/{user}", json={"email": EMAIL}, headers=headers)
    check_problem(response, 412, "precondition-failed")


async def test_unchanged_email_with_a_wrong_current_password_returns_422(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    token = await add_token(database, user)
    response = await change_user(client, user, token, email=EMAIL, current_password=WRONG_PASSWORD)
    check_field_error(response, "/current_password", "wrong_password")


async def test_email_in_another_case_needs_the_current_password(
    client: AsyncClient, database: Database
) -> None:
    # A mail server may deliver it to someone else.
    user = await add_user(database)
    response = await change_user(
        client, user, await add_token(database, user), email="ADA@example.com"
    )
    check_field_error(response, "/current_password", "missing")


async def test_unchanged_email_does_not_undo_a_concurrent_change(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    user = await add_user(database)
    stolen_token = await add_token(database, user, used=True)
    async with database.transaction() as session:
        change_email = text("UPDATE users SET email = :email, version = version + 1")
        await session.execute(change_email, {"email": NEW_EMAIL})
        attempt = await start_until_blocked(
            change_user(client, user, stolen_token, email=EMAIL, name="Countess"),
            outside_connection,
        )
    response = await attempt
    assert (response.json()["email"], response.json()["name"]) == (NEW_EMAIL, "Countess")


async def test_admin_changes_email_of_another_user_without_a_password(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database, "root@example.com", role="admin"))
    user = await add_user(database)
    response = await change_user(client, user, token, email=NEW_EMAIL)
    assert (response.status_code, response.json()["email"]) == (200, NEW_EMAIL)


# The deletion


@every_role
async def test_deleting_own_account_without_the_current_password_returns_422(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    token = await add_token(database, user)
    for body, code in (
        (None, "missing"),
        ({}, "missing"),
        ({"current_password": WRONG_PASSWORD}, "wrong_password"),
    ):
        response = await delete_user(client, user, token, body)
        check_field_error(response, "/current_password", code)
    assert await fetch_value(database, SELECT_USER, id=user) == (EMAIL, 1)


@pytest.mark.parametrize("role", ["member", "editor"])
async def test_deleting_own_account_with_the_current_password_succeeds(
    client: AsyncClient, database: Database, role: str
) -> None:
    user = await add_user(database, role=role)
    token = await add_token(database, user)
    response = await delete_user(client, user, token, {"current_password": PASSWORD})
    assert (response.status_code, response.content) == (204, b"")
    assert await fetch_value(database, "SELECT count(*) FROM users") == 0


async def test_last_admin_cannot_delete_the_own_account_with_the_current_password(
    client: AsyncClient, database: Database
) -> None:
    admin = await add_user(database, role="admin")
    token = await add_token(database, admin)
    response = await delete_user(client, admin, token, {"current_password": PASSWORD})
    check_problem(response, 409, "conflict")


async def test_admin_deletes_another_user_without_a_body(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database, "root@example.com", role="admin"))
    user = await add_user(database)
    # A length of 0 announces that there is no body.
    assert (
        await delete_user(client, user, token, None, **{"Content-Length": "0"})
    ).status_code == 204


async def test_admin_who_sends_a_wrong_password_does_not_delete_another_user(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database, "root@example.com", role="admin"))
    user = await add_user(database)
    response = await delete_user(client, user, token, {"current_password": WRONG_PASSWORD})
    check_field_error(response, "/current_password", "wrong_password")


async def test_deleting_another_user_returns_404_and_counts_no_guess(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    bob = await add_user(database, "bob@example.com")
    for user in (bob, 1_000_000_000):
        for body in (None, {"current_password": PASSWORD}, {"current_password": WRONG_PASSWORD}):
            check_problem(await delete_user(client, user, token, body), 404, "not-found")
    assert await fetch_value(database, "SELECT count(*) FROM attempt_counters") == 0


async def test_deleting_own_account_with_a_stale_etag_returns_412(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    token = await add_token(database, user)
    body = {"current_password": PASSWORD}
    response = await delete_user(client, user, token, body, **{"If-Match": '"7"'})
    check_problem(response, 412, "precondition-failed")
    response = await delete_user(client, user, token, body, **{"If-Match": '"1"'})
    assert response.status_code == 204


@pytest.mark.private_database
@every_hash
async def test_account_is_not_deleted_if_the_verified_password_is_changed_concurrently(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    password_hash: str,
) -> None:
    user = await add_user(database, password_hash=password_hash)
    stolen_token = await add_token(database, user, used=True)
    async with database.transaction() as session:
        await session.execute(text(CHANGE_HASH), {"new": DUMMY_HASH})
        attempt = await start_until_blocked(
            delete_user(client, user, stolen_token, {"current_password": PASSWORD}),
            outside_connection,
        )
    response = await attempt
    assert response.status_code in {409, 422}, response.text
    assert await fetch_value(database, "SELECT count(*) FROM users") == 1


# The body of the DELETE request


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param(b'{"current_password"', {}, 400, id="malformed"),
        pytest.param(b'{"current_password": "x", "x": 1}', {}, 422, id="unknown field"),
        pytest.param(b"null", {}, 422, id="null"),
        pytest.param(b"{}", {"Content-Type": "text/plain"}, 415, id="text"),
        pytest.param(
            b"current_password=correct+horse",
            {"Content-Type": "application/x-www-form-urlencoded"},
            415,
            id="form",
        ),
        pytest.param(b"{}", {"Content-Encoding": "gzip"}, 415, id="compressed"),
        pytest.param(b" " * 65_537, {}, 413, id="too large"),
    ],
)
async def test_wrong_body_of_delete_is_refused_and_deletes_nothing(
    client: AsyncClient, database: Database, content: bytes, headers: dict[str, str], status: int
) -> None:
    user = await add_user(database)
    all_headers = {
        **bearer_headers(await add_token(database, user)),
        "Content-Type": "application/json",
        **headers,
    }
    response = await client.request(
        "DELETE", f"/users/{user}", content=content, headers=all_headers
    )
    assert response.status_code == status, response.text
    assert await fetch_value(database, "SELECT count(*) FROM users") == 1


async def test_body_of_delete_without_a_content_length_is_read(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database)
    headers = {
        **bearer_headers(await add_token(database, user)),
        "Content-Type": "application/json",
    }
    body = stream_chunks(b'{"current_password": ', b'"correct horse"}')
    response = await client.request("DELETE", f"/users/{user}", content=body, headers=headers)
    assert response.status_code == 204


def test_document_describes_an_optional_body_of_delete(application: FastAPI) -> None:
    body = application.openapi()["paths"]["/users/{id}"]["delete"]["requestBody"]
    assert "required" not in body
    schema = body["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/UserDeletion"}
