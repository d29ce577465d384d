"""Logging in: a strict form, one response for whatever is wrong, and hashes that grow with time."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from argon2 import PasswordHasher as Argon2PasswordHasher
from argon2 import extract_parameters
from argon2.exceptions import VerifyMismatchError
from fastapi import FastAPI
from httpx import AsyncClient, Response
from pwdlib import PasswordHash

from app.core.db import Database
from app.users.passwords import DUMMY_HASH, PasswordHasher
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
from tests.support.factories import make_user
from tests.support.multipart import stream_chunks
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import replace_resources

FORM = "application/x-www-form-urlencoded"
SECRET = "swordfish"
GOOD = f"username=ada%40example.com&password={SECRET}".encode()
MIB = 2**20


async def send(
    client: AsyncClient, body: Any, content_type: str | None = FORM, **headers: str
) -> Response:
    """A form as it is, byte by byte."""
    typed = {"Content-Type": content_type} if content_type else {}
    return await client.post("/tokens", content=body, headers=typed | headers)


@pytest.mark.parametrize("username", [EMAIL, "ADA@Example.COM", "Ada@example.com"])
async def test_a_token_is_to_be_had_for_an_email_in_any_case_and_its_password(
    client: AsyncClient, database: Database, username: str
) -> None:
    user = await add_user(database)
    response = await log_in(client, username, name="laptop", grant_type="password", scope="")
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    assert list(response.json()) == ["access_token", "token_type", "expires_in"]
    assert response.json()["token_type"] == "bearer"
    key, name = await fetch_value(database, "SELECT ROW(id, name) FROM tokens")
    assert (response.headers["location"], name) == (f"/tokens/{key}", "laptop")
    me = await client.get("/users/me", headers=bearer_headers(response.json()["access_token"]))
    assert me.json()["id"] == user


async def test_whoever_registers_can_log_in_with_whatever_characters(client: AsyncClient) -> None:
    email, password = "émilie@bücher.example", " p&ss=w+rd%20 é😀\r\n"
    await make_user(client, email=email, password=password)
    assert (await log_in(client, "e\u0301milie@xn--bcher-kva.example", password)).is_success
    check_problem(await log_in(client, email, password.strip()), 401, "unauthorized")


@pytest.mark.parametrize(
    ("name", "agent", "kept"),
    [
        ("laptop", "curl/8", "laptop"),
        (None, "curl/8", "curl/8"),
        ("", "curl/8", "curl/8"),
        (None, "x" * 200, "x" * 100),
        (None, "", "unnamed"),
    ],
)
async def test_a_token_is_named_after_the_client_unless_that_says_otherwise(
    client: AsyncClient, database: Database, name: str | None, agent: str, kept: str
) -> None:
    await add_user(database)
    body = {"username": EMAIL, "password": PASSWORD} | ({} if name is None else {"name": name})
    response = await client.post("/tokens", data=body, headers={"User-Agent": agent})
    assert response.status_code == 201
    assert await fetch_value(database, "SELECT name FROM tokens") == kept


async def test_a_token_that_works_no_more_does_not_keep_one_from_logging_in(
    client: AsyncClient, database: Database
) -> None:
    token = await add_token(database, await add_user(database))
    await fetch_value(database, "DELETE FROM tokens RETURNING id")
    body = {"username": EMAIL, "password": PASSWORD}
    response = await client.post("/tokens", data=body, headers=bearer_headers(token))
    assert response.status_code == 201


class Noting(PasswordHash):
    """The service's hasher, which also notes which hashes it was to verify."""

    asked: list[Any]

    def verify_and_update(self, password: Any, hash: Any) -> tuple[bool, str | None]:
        self.asked.append(hash)
        return super().verify_and_update(password, hash)


async def test_a_wrong_email_and_a_wrong_password_are_the_same_answer_for_the_same_work(
    client: AsyncClient, database: Database, app: FastAPI
) -> None:
    await add_user(database)
    passwords = PasswordHasher()
    replace_resources(app, password_hasher=passwords)
    passwords._algorithm = hasher = Noting(passwords._algorithm.hashers)
    hasher.asked = []
    responses = [
        await log_in(client, EMAIL, WRONG_PASSWORD),
        await log_in(client, "nobody@example.com", WRONG_PASSWORD),
        await log_in(client, "nobody@example.com", PASSWORD),
        await log_in(client, "no email at all", PASSWORD),
    ]
    problems = [check_problem(response, 401, "unauthorized") for response in responses]
    for response, problem in zip(responses, problems, strict=True):
        assert problem.pop("request_id") == response.headers.pop("x-request-id")
        assert (problem, response.headers) == (problems[0], responses[0].headers)
    assert responses[0].headers["www-authenticate"].startswith("Bearer")
    assert hasher.asked == [PASSWORD_HASH, DUMMY_HASH, DUMMY_HASH, DUMMY_HASH]
    passwords.close()


def test_the_hash_of_nobodys_password_costs_what_a_users_does() -> None:
    assert extract_parameters(DUMMY_HASH) == extract_parameters(PASSWORD_HASH)
    with pytest.raises(VerifyMismatchError):  # computed to the end, and not the same
        Argon2PasswordHasher().verify(DUMMY_HASH, PASSWORD)


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        (b"", ["/username", "/password"]),
        (b"username=ada%40example.com", ["/password"]),
        (b"username&password=swordfish", ["/username"]),
        (b"username=&password=swordfish", ["/username"]),
        (b"username=ada%40example.com&password=", ["/password"]),
        (b"username=" + b"a" * 255 + b"&password=swordfish", ["/username"]),
        (b"username=ada%00%40example.com&password=swordfish", ["/username"]),
        (b"username=ada%40example.com&password=" + b"swordfish" * 15, ["/password"]),
        (b"username=ada%40example.com&password=sword%00fish", ["/password"]),
        (GOOD + b"&name=" + b"x" * 101, ["/name"]),
        (GOOD + b"&name=a%00b", ["/name"]),
        (GOOD + b"&client_secret=a%00b", ["/client_secret"]),
        (GOOD + b"&grant_type=refresh_token", ["/grant_type"]),
        (GOOD + b"&email=ada%40example.com", ["/email"]),
        (GOOD + b"&Password=swordfish", ["/Password"]),
        (GOOD + b"&a/b~c=swordfish", ["/a~1b~0c"]),
        (GOOD + b"&password=swordfish", ["/password"]),
        (GOOD + b"&username=bob&password=swordfish", ["/username", "/password"]),
    ],
)
async def test_a_form_that_is_not_as_it_should_be_is_refused_unlooked_at(
    client: AsyncClient, statements: list[str], body: bytes, pointers: list[str]
) -> None:
    response = await send(client, body)
    assert field_error_locations(response) == [{"pointer": pointer} for pointer in pointers]
    assert SECRET not in response.text
    assert statements == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        pytest.param(b"username=%ff&password=swordfish", 400, "malformed-request", id="escaped"),
        pytest.param(b"username=\xff&password=swordfish", 400, "malformed-request", id="bytes"),
        pytest.param(b"%ff=swordfish", 400, "malformed-request", id="name"),
        pytest.param(b"username=%ed%a0%80&password=x", 400, "malformed-request", id="surrogate"),
        pytest.param(GOOD + b"&a=" * 99, 400, "malformed-request", id="too many fields"),
        pytest.param(GOOD + b"&scope=" + b"x" * MIB, 413, "payload-too-large", id="too large"),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused_unlooked_at(
    client: AsyncClient, statements: list[str], body: bytes, status: int, kind: str
) -> None:
    response = await send(client, body)
    check_problem(response, status, kind)
    assert SECRET not in response.text
    assert statements == []


async def test_a_form_of_unknown_length_may_not_be_too_large_either(client: AsyncClient) -> None:
    response = await send(client, stream_chunks(GOOD, b"&scope=", *[b"x" * 1024] * 1024))
    check_problem(response, 413, "payload-too-large")


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        (None, {}),
        ("application/json", {}),
        ("multipart/form-data; boundary=x", {}),
        ("text/plain", {}),
        (f"{FORM}; charset=latin-1", {}),
        (FORM, {"Content-Encoding": "gzip"}),
    ],
)
async def test_what_is_no_plain_form_is_of_the_wrong_type(
    client: AsyncClient, content_type: str | None, headers: dict[str, str]
) -> None:
    response = await send(client, GOOD, content_type, **headers)
    check_problem(response, 415, "unsupported-media-type")


async def test_a_form_may_say_that_it_is_utf_8(client: AsyncClient, database: Database) -> None:
    await add_user(database)
    body = b"username=ada%40example.com&password=correct+horse"
    response = await send(
        client, body, f"{FORM}; charset=UTF-8", **{"Content-Encoding": "identity"}
    )
    assert response.status_code == 201


@pytest.mark.private_database
async def test_of_more_log_ins_than_the_queue_holds_the_rest_is_overload_and_no_failure(
    client: AsyncClient, database: Database, app: FastAPI
) -> None:
    passwords = PasswordHasher(max_pending=2)
    replace_resources(app, password_hasher=passwords)
    emails = [f"{n}@example.com" for n in range(6)]
    responses = await asyncio.gather(*(log_in(client, email, WRONG_PASSWORD) for email in emails))
    assert Counter(response.status_code for response in responses) == {401: 2, 503: 4}
    for response in responses:
        if response.status_code == 503:
            check_problem(response, 503, "overloaded")
            assert int(response.headers["retry-after"]) >= 1
    query = "SELECT sum(failures) FROM login_failures WHERE kind = :kind"
    for kind in ("account", "address"):
        assert await fetch_value(database, query, kind=kind) == 2
    assert (
        await log_in(client, emails[0], WRONG_PASSWORD)
    ).status_code == 401  # there is room again
    passwords.close()


async def test_a_hash_that_is_too_weak_by_now_is_replaced_and_nothing_else(
    client: AsyncClient, database: Database
) -> None:
    user = await add_user(database, password_hash=WEAK_PASSWORD_HASH)
    token = await add_token(database, user)
    before = await client.get(f"/users/{user}")
    assert (await log_in(client, password=WRONG_PASSWORD)).status_code == 401
    assert await fetch_value(database, "SELECT password_hash FROM users") == WEAK_PASSWORD_HASH
    response = await log_in(client)
    assert response.status_code == 201
    kept = await fetch_value(database, "SELECT password_hash FROM users")
    assert extract_parameters(kept) == extract_parameters(PASSWORD_HASH)
    assert all(
        [await is_token_accepted(client, each) for each in (token, response.json()["access_token"])]
    )
    after = await client.get(f"/users/{user}")
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    assert (await log_in(client)).status_code == 201
    assert await fetch_value(database, "SELECT password_hash FROM users") == kept


@pytest.mark.private_database
async def test_of_log_ins_at_once_that_all_find_the_hash_too_weak_none_fails(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database, password_hash=WEAK_PASSWORD_HASH)
    responses = await asyncio.gather(*(log_in(client) for _ in range(4)))
    assert [response.status_code for response in responses] == [201] * 4
    kept = await fetch_value(database, "SELECT password_hash FROM users")
    assert extract_parameters(kept) == extract_parameters(PASSWORD_HASH)
    assert await fetch_value(database, "SELECT count(*) FROM tokens") == 4
    assert await fetch_value(database, "SELECT max(failures) FROM login_failures") == 0
