"""The command `users set-password`, which helps a user who cannot log in."""

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    add_token,
    add_user,
    fetch_value,
    is_token_accepted,
    log_in,
)
from tests.support.commands import invoke_command
from tests.support.problems import check_problem
from tests.support.processes import CommandResult

pytestmark = pytest.mark.private_database

NEW_PASSWORD = "nanosecond wire"


async def set_password(
    database_url: str, password: str = NEW_PASSWORD, email: str = EMAIL, **environment: str
) -> CommandResult:
    """Run the command with the password as the first line of standard input."""
    return await invoke_command(
        "users",
        "set-password",
        email,
        input=f"{password}\nmore\n".encode(),
        DATABASE_URL=database_url,
        **environment,
    )


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_set_password_changes_the_password_and_revokes_all_tokens_of_the_user(
    client: AsyncClient, database: Database, database_url: str, role: str
) -> None:
    user = await add_user(database, role=role)
    tokens = [await add_token(database, user) for _ in range(2)]
    token_of_bob = await add_token(database, await add_user(database, "bob@example.com"))
    result = await set_password(database_url, email="ADA@example.com")
    assert result == (0, f"{EMAIL} has a new password. All of their tokens were revoked.\n", "")
    assert [await is_token_accepted(client, token) for token in (*tokens, token_of_bob)] == [
        False,
        False,
        True,
    ]
    check_problem(await log_in(client), 401, "unauthorized")
    assert (await log_in(client, password=NEW_PASSWORD)).status_code == 201
    select_user = "SELECT ROW(name, email, role, version) FROM users WHERE id = :id"
    assert await fetch_value(database, select_user, id=user) == ("Ada Lovelace", EMAIL, role, 2)


async def test_set_password_fails_with_one_line_if_user_does_not_exist(database_url: str) -> None:
    code, out, err = await set_password(database_url)
    assert (code, out, err) == (1, "", f"bookshelf: No user has the email address {EMAIL}\n")


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "Must have at least 8 characters"),
        ("shorter", "Must have at least 8 characters"),
        ("x" * 129, "Must have at most 128 characters"),
        ("Password1", "Must not be one of the most common passwords, which attackers try first"),
        ("elevenchars", "Must have at least 12 characters"),
        ("ada lovelace", "Must not be the email or name of the user, or the name of the service"),
    ],
)
async def test_set_password_applies_the_rules_for_new_passwords(
    client: AsyncClient, database: Database, database_url: str, password: str, message: str
) -> None:
    token = await add_token(database, await add_user(database))
    result = await set_password(database_url, password, PASSWORD_MIN_LENGTH="12")
    assert result == (1, "", f"bookshelf: password: {message}\n")
    assert await is_token_accepted(client, token)
    assert (await log_in(client, password=PASSWORD)).status_code == 201


async def test_create_admin_applies_the_minimum_length_of_the_setting(database_url: str) -> None:
    result = await invoke_command(
        "users",
        "create-admin",
        EMAIL,
        input=b"elevenchars\n",
        DATABASE_URL=database_url,
        PASSWORD_MIN_LENGTH="12",
    )
    assert result == (1, "", "bookshelf: password: Must have at least 12 characters\n")
