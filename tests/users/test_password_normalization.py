"""Passwords are normalized: a user may log in from a device that sends another form of Unicode."""

from unicodedata import normalize

import pytest
from argon2 import extract_parameters
from fastapi import FastAPI
from httpx import AsyncClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from app.core.db import Database
from app.users.password_fields import normalize_password
from app.users.passwords import DUMMY_HASH
from tests.support.accounts import (
    EMAIL,
    PASSWORD_HASH,
    add_token,
    add_user,
    bearer_headers,
    fetch_value,
    is_token_accepted,
    log_in,
)
from tests.support.commands import invoke_command
from tests.support.factories import make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.recorded_hashes import record_verified_hashes

COMPOSED = "contraseña única"
DECOMPOSED = normalize("NFD", COMPOSED)
# The weakest parameters, because a test only compares the hash.
FAST_ALGORITHM = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
# One password in the forms in which two devices send it.
EQUAL_PASSWORDS = [
    pytest.param(COMPOSED, DECOMPOSED, id="NFD"),
    pytest.param(DECOMPOSED, COMPOSED, id="NFC"),
    pytest.param("비밀번호를 기억해", normalize("NFD", "비밀번호를 기억해"), id="Hangul"),
    pytest.param("10 k\u2126 5 \u212b", "10 k\u03a9 5 \u00c5", id="Ohm and Angstrom signs"),
    pytest.param("s\u0323\u0307 sixteen", "s\u0307\u0323 sixteen", id="order of marks"),
    pytest.param("correct horse", "correct\u00a0horse", id="no-break space"),
    pytest.param("合言葉 は 秘密 だ", "合言葉\u3000は\u3000秘密\u3000だ", id="ideographic space"),
    pytest.param("Ünlü\u2003Şifre", "U\u0308nlu\u0308 S\u0327ifre", id="space and marks"),
]
DIFFERENT_PASSWORDS = [
    pytest.param("correct horse", "Correct horse", id="case"),
    pytest.param("correct horse", "correct  horse", id="two spaces"),
    pytest.param("correct horse", "correct\thorse", id="tab"),
    pytest.param("correct horse", " correct horse", id="space around"),
    pytest.param("contraseña única", "contrasena unica", id="accents"),
    pytest.param("ﬁrst \u00b2 \u2460 one", "first 2 1 one", id="compatible characters"),
    pytest.param("correct horse", "correct\u200b horse", id="zero width space"),
    pytest.param("\uff4f\uff50\uff45\uff4e sesame", "open sesame", id="full width"),
]


@pytest.mark.parametrize(("registered", "sent"), EQUAL_PASSWORDS)
async def test_login_succeeds_when_password_has_another_form(
    client: AsyncClient, registered: str, sent: str
) -> None:
    await make_user(client, password=registered)
    assert (await log_in(client, password=sent)).status_code == 201


@pytest.mark.parametrize(("registered", "sent"), DIFFERENT_PASSWORDS)
async def test_login_returns_401_when_password_differs(
    client: AsyncClient, registered: str, sent: str
) -> None:
    await make_user(client, password=registered)
    check_problem(await log_in(client, password=sent), 401, "unauthorized")


async def test_user_can_change_password_when_current_password_has_another_form(
    client: AsyncClient,
) -> None:
    user = await make_user(client, password=COMPOSED)
    token = (await log_in(client, password=COMPOSED)).json()["access_token"]
    new_password = normalize("NFD", "clé très secrète")
    body = {"current_password": DECOMPOSED, "password": new_password}
    path = f"/users/{user['id']}"
    response = await client.patch(path, json=body, headers=bearer_headers(token))
    assert response.status_code == 200
    assert (await log_in(client, password="clé très secrète")).status_code == 201


async def test_password_of_command_line_is_normalized(
    client: AsyncClient, database_url: str
) -> None:
    command = ("users", "create-admin", EMAIL)
    result = await invoke_command(
        *command, input=DECOMPOSED.encode() + b"\n", DATABASE_URL=database_url
    )
    assert result.exit_code == 0
    assert (await log_in(client, password=COMPOSED)).status_code == 201


# Hashes of releases that did not normalize passwords


@pytest.mark.parametrize("password", [DECOMPOSED, "correct\u3000horse", "\u1100\u1161" * 4])
async def test_old_hash_of_unnormalized_password_still_works_and_is_replaced(
    client: AsyncClient, database: Database, password: str
) -> None:
    user_id = await add_user(database, password_hash=FAST_ALGORITHM.hash(password))
    token = await add_token(database, user_id)
    assert (await log_in(client, password=password)).status_code == 201
    new_hash = await fetch_value(database, "SELECT password_hash FROM users")
    assert extract_parameters(new_hash) == extract_parameters(PASSWORD_HASH)
    # The hash is that of the normalized password now, and the user's tokens are still valid.
    assert (await log_in(client, password=normalize_password(password))).status_code == 201
    assert (await log_in(client, password=password)).status_code == 201
    assert await fetch_value(database, "SELECT password_hash FROM users") == new_hash
    assert await is_token_accepted(client, token)


async def test_user_with_old_hash_can_change_password_that_is_too_short_when_normalized(
    client: AsyncClient, database: Database
) -> None:
    password = "e\u0301" * 4
    user_id = await add_user(database, password_hash=FAST_ALGORITHM.hash(password))
    headers = bearer_headers(await add_token(database, user_id))
    body = {"current_password": password, "password": COMPOSED}
    response = await client.patch(f"/users/{user_id}", json=body, headers=headers)
    assert response.status_code == 200
    assert (await log_in(client, password=DECOMPOSED)).status_code == 201


async def test_old_hash_of_password_that_normalization_lengthens_still_works(
    client: AsyncClient, database: Database
) -> None:
    password = "\u0958" * 128
    assert len(normalize_password(password)) == 256
    await add_user(database, password_hash=FAST_ALGORITHM.hash(password))
    assert (await log_in(client, password=password)).status_code == 201


@pytest.mark.parametrize(
    ("password", "comparisons"), [("a wrong password", 1), (COMPOSED, 1), (DECOMPOSED, 2)]
)
async def test_failed_login_verifies_as_many_hashes_for_unknown_user_as_for_known_user(
    client: AsyncClient, database: Database, app: FastAPI, password: str, comparisons: int
) -> None:
    await add_user(database)
    with record_verified_hashes(app) as verified_hashes:
        for email in (EMAIL, "nobody@example.com"):
            assert (await log_in(client, email, password)).status_code == 401
    assert verified_hashes == [PASSWORD_HASH] * comparisons + [DUMMY_HASH] * comparisons


# The length


@pytest.mark.parametrize(
    ("password", "is_accepted"),
    [
        ("e\u0301" * 7, False),  # 14 code points before normalization
        ("e\u0301" * 8, True),
        ("e\u0301" * 128, True),  # 256 before
        ("e\u0301" * 129, False),
        ("\u03b1\u0313\u0300\u0345" * 128, True),  # 512 before
        ("\u03b1\u0313\u0300\u0345" * 129, False),
        ("\u0958" * 4, True),  # 8 after
        ("\u0958" * 65, False),  # 130 after
        ("\u0301" * 1000, False),
        ("\U0001f511" * 7, False),  # 14 code units of UTF-16
        ("\U0001f511" * 128, True),
    ],
)
async def test_length_of_password_is_checked_after_normalization(
    client: AsyncClient, password: str, is_accepted: bool
) -> None:
    user = await make_user(client)
    body = {"name": "Bob", "email": "bob@example.com", "password": password}
    created = await client.post("/users", json=body)
    updated = await client.patch(f"/users/{user['id']}", json={"password": password})
    if is_accepted:
        assert (created.status_code, updated.status_code) == (201, 200)
    else:
        for response in (created, updated):
            assert field_error_locations(response) == [{"pointer": "/password"}]


@pytest.mark.parametrize(("length", "is_accepted"), [(1, True), (256, True), (258, False)])
async def test_login_accepts_password_that_normalization_makes_short_enough(
    client: AsyncClient, length: int, is_accepted: bool
) -> None:
    password = ("e\u0301" * length)[:length]
    status = (await log_in(client, password=password)).status_code
    assert status == (401 if is_accepted else 422)


def test_normalizing_a_password_again_changes_nothing() -> None:
    for password in (COMPOSED, DECOMPOSED, "\u2000\u0301 \u3000x", "\u0958\u212b\u1e9b\u0323"):
        normalized_password = normalize_password(password)
        assert normalize_password(normalized_password) == normalized_password
