"""New passwords that are refused: common ones, known words, and the minimum length by setting."""

from pathlib import Path

import pytest
from httpx import AsyncClient, Response
from pydantic import SecretStr

from app import NAME, users
from app.core.db import Database
from app.core.errors import InvalidRequest
from app.users.common_passwords import is_common_password
from app.users.password_policy import PasswordPolicy
from app.users.passwords import PasswordHasher
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    WRONG_PASSWORD,
    add_token,
    add_user,
    change_user,
    client_of_new_instance,
    log_in,
)
from tests.support.factories import make_user
from tests.support.problems import check_field_error

LIST = Path(users.__path__[0]) / "common_passwords.txt"


async def register(client: AsyncClient, password: str) -> Response:
    body = {"name": "Ada Lovelace", "email": "ada.king@example.com", "password": password}
    return await client.post("/users", json=body)


def check_password_error(response: Response, code: str, *secrets: str) -> None:
    check_field_error(response, "/password", code)
    assert not any(secret in response.text for secret in secrets)


@pytest.mark.parametrize(
    "password", ["12345678", "password1", "PassWord1", "qwertyuiop", "michelle", "ILOVEYOU"]
)
async def test_registration_with_a_common_password_returns_422(
    client: AsyncClient, password: str
) -> None:
    check_password_error(await register(client, password), "common_password", password)


async def test_change_to_a_common_password_returns_422(client: AsyncClient) -> None:
    user = await make_user(client)
    response = await client.patch(f"/users/{user['id']}", json={"password": "football"})
    check_password_error(response, "common_password", "football")


@pytest.mark.parametrize("password", ["12345678 ", "password-12", "password1 1", "correct horse"])
async def test_registration_with_another_password_succeeds(
    client: AsyncClient, password: str
) -> None:
    assert (await register(client, password)).status_code == 201


async def test_user_who_already_has_a_common_password_can_log_in_and_change_it(
    client: AsyncClient, database: Database, password_hasher: PasswordHasher
) -> None:
    password_hash = await password_hasher.hash(SecretStr("football"))
    user = await add_user(database, password_hash=password_hash)
    assert (await log_in(client, password="football")).status_code == 201
    changes = {"password": "battery staple", "current_password": "football"}
    response = await change_user(client, user, await add_token(database, user), **changes)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "password",
    ["ada.king@example.com", "Ada.King", "ada lovelace", "ADALOVELACE", "Ada\u3000Lovelace"],
)
async def test_registration_with_a_known_word_as_password_returns_422(
    client: AsyncClient, password: str
) -> None:
    check_password_error(await register(client, password), "known_password")


def test_name_of_the_service_is_refused_as_password() -> None:
    # The name of a copy of this service may be shorter than a password.
    policy = PasswordPolicy(min_length=1)
    with pytest.raises(InvalidRequest):
        policy.check(SecretStr(NAME.upper()), email=EMAIL, name="Ada")


async def test_change_to_the_stored_name_or_the_new_email_as_password_returns_422(
    client: AsyncClient,
) -> None:
    user = await make_user(client)
    path = f"/users/{user['id']}"
    response = await client.patch(path, json={"password": "Ada Lovelace"})
    check_password_error(response, "known_password")
    response = await client.patch(path, json={"email": "c@x.org", "password": "C@x.org "})
    assert response.status_code == 200
    response = await client.patch(path, json={"email": "cc@x.org", "password": "CC@x.org"})
    check_password_error(response, "known_password")


@pytest.mark.private_database
async def test_minimum_length_of_new_passwords_is_a_setting(database_url: str) -> None:
    async with client_of_new_instance(database_url, password_min_length=12) as client:
        response = await register(client, "elevenchars")
        check_password_error(response, "too_short", "elevenchars")
        assert response.json()["errors"][0]["detail"] == "Must have at least 12 characters"
        # Each é has two code points before normalization, and one after it.
        check_password_error(await register(client, "e\u0301" * 11), "too_short")
        assert (await register(client, "twelve chars")).status_code == 201
        user = (await client.get("/users")).json()["items"][0]
        path = f"/users/{user['id']}"
        check_password_error(await client.patch(path, json={"password": "short one"}), "too_short")
        schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
        for model in ("UserCreate", "UserUpdate"):
            assert schemas[model]["properties"]["password"]["minLength"] == 12
        assert "minLength" not in schemas["LoginForm"]["properties"]["password"]


@pytest.mark.private_database
async def test_existing_password_that_is_shorter_than_the_setting_is_accepted(
    database: Database, database_url: str
) -> None:
    await add_user(database)
    async with client_of_new_instance(database_url, password_min_length=100) as client:
        assert (await log_in(client)).status_code == 201


def test_list_contains_only_normalized_words_that_are_long_enough() -> None:
    lines = LIST.read_text().splitlines()
    words = [line for line in lines if not line.startswith("#")]
    assert 1000 < len(words) == len(set(words))
    assert all(word.isascii() and word == word.strip().casefold() for word in words)
    assert min(len(word) for word in words) == 8


def test_list_contains_no_password_of_the_examples() -> None:
    examples = (PASSWORD, WRONG_PASSWORD, "battery staple", "nanosecond wire", "a long passphrase")
    assert not any(is_common_password(password) for password in (EMAIL, *examples))
