"""The limit of registrations and changes of emails, and the check of the email before hashing."""

import asyncio
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.users.passwords import PasswordHasher
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    add_token,
    add_user,
    bearer_headers,
    change_user,
    client_at_address,
    client_of_new_instance,
    fetch_value,
)
from tests.support.attempt_counters import let_time_pass, read_levels, set_levels
from tests.support.callers import set_anonymous_access
from tests.support.database_activity import start_until_blocked
from tests.support.problems import check_problem
from tests.support.resources import replace_resources

NEW_EMAIL = "countess@example.com"
NEW_PASSWORD = "battery staple"
COUNT_USERS = "SELECT count(*) FROM users"


@pytest.fixture(autouse=True)
def _production_access(app: FastAPI) -> None:
    """Let anonymous callers only read, as in production. Otherwise, they are not limited."""
    set_anonymous_access(app, "read")


async def register(client: AsyncClient, email: str = EMAIL, **headers: str) -> Response:
    """Send a registration."""
    user: dict[str, Any] = {"name": "Ada Lovelace", "email": email, "password": PASSWORD}
    return await client.post("/users", json=user, headers=headers)


async def test_network_may_send_100_registrations_and_then_one_every_36_seconds(
    app: FastAPI, database: Database
) -> None:
    await add_user(database)
    async with client_at_address(app, "192.0.2.1") as client:
        check_problem(await register(client), 409, "email-taken")
        await set_levels(database, registration=98)
        for status in (409, 409, 429, 429):
            assert (await register(client)).status_code == status
        await let_time_pass(database, timedelta(seconds=36))
        check_problem(await register(client), 409, "email-taken")
        response = await register(client)
        check_problem(response, 429, "too-many-requests")
        assert 1 <= int(response.headers["retry-after"]) <= 36
    async with client_at_address(app, "192.0.2.2") as client:
        assert (await register(client, "grace@example.com")).status_code == 201


async def test_all_addresses_of_an_ipv6_site_count_for_the_same_network(
    app: FastAPI, database: Database
) -> None:
    await add_user(database)
    async with client_at_address(app, "2001:db8:0:1::1") as client:
        check_problem(await register(client), 409, "email-taken")
    await set_levels(database, registration=100)
    async with client_at_address(app, "2001:db8:0:2::1") as client:
        assert (await register(client)).status_code == 429


async def test_only_admins_and_anonymous_full_access_may_register_without_limit(
    app: FastAPI, client: AsyncClient, database: Database
) -> None:
    member = await add_user(database)
    admin = await add_user(database, "root@example.com", role="admin")
    member_headers = bearer_headers(await add_token(database, member))
    admin_headers = bearer_headers(await add_token(database, admin))
    check_problem(await register(client), 409, "email-taken")
    await set_levels(database, registration=100)
    assert (await register(client)).status_code == 429
    assert (await register(client, **member_headers)).status_code == 429
    assert (await register(client, "grace@example.com", **admin_headers)).status_code == 201
    set_anonymous_access(app, "full")
    assert (await register(client, "bob@example.com")).status_code == 201


async def test_registration_with_idempotency_key_counts_although_it_is_rolled_back(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    key = {"Idempotency-Key": str(uuid4())}
    check_problem(await register(client, **key), 409, "email-taken")
    assert await read_levels(database) == {"registration": 1}


@pytest.mark.private_database
async def test_registrations_with_idempotency_keys_need_only_one_connection(
    database: Database, database_url: str
) -> None:
    # If a transaction held a connection while it counts or hashes, a second one would be needed.
    async with client_of_new_instance(
        database_url, anonymous_access="read", db_pool_size=1
    ) as client:
        registrations = (
            register(client, f"{number}@example.com", **{"Idempotency-Key": str(uuid4())})
            for number in range(6)
        )
        responses = await asyncio.gather(*registrations)
    assert [response.status_code for response in responses] == [201] * 6


@pytest.mark.private_database
async def test_1_of_10_concurrent_registrations_of_an_email_succeeds(
    client: AsyncClient, database: Database
) -> None:
    responses = await asyncio.gather(*(register(client) for _ in range(10)))
    assert Counter(response.status_code for response in responses) == {201: 1, 409: 9}
    assert await fetch_value(database, COUNT_USERS) == 1


async def test_registration_of_a_taken_email_is_refused_without_hashing_the_password(
    app: FastAPI, client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    hasher = PasswordHasher()
    hasher.close()  # It cannot hash any more.
    replace_resources(app, password_hasher=hasher)
    check_problem(await register(client, EMAIL.upper()), 409, "email-taken")


async def test_changes_of_an_email_count_as_registrations_except_those_by_an_admin(
    client: AsyncClient, database: Database
) -> None:
    # Otherwise, someone with an account could find out which emails belong to users.
    member = await add_user(database)
    admin = await add_user(database, "root@example.com", role="admin")
    token = await add_token(database, member)
    admin_token = await add_token(database, admin)

    async def change_own_email(email: str) -> Response:
        changes = {"email": email, "current_password": PASSWORD}
        return await change_user(client, member, token, **changes)

    check_problem(await change_own_email("root@example.com"), 409, "email-taken")
    await set_levels(database, registration=100)
    response = await change_own_email("root@example.com")
    check_problem(response, 429, "too-many-requests")
    assert 1 <= int(response.headers["retry-after"]) <= 36
    assert (await change_own_email(EMAIL)).status_code == 200  # It is not changed.
    response = await change_user(client, member, admin_token, email="root@example.com")
    check_problem(response, 409, "email-taken")


@pytest.mark.private_database
async def test_change_of_email_and_password_is_not_refused_as_overloaded_after_it_was_counted(
    app: FastAPI, client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    hasher = PasswordHasher(max_pending_changes=1)
    replace_resources(app, password_hasher=hasher)
    assert (await register(client)).status_code == 201
    user = await fetch_value(database, "SELECT id FROM users")
    token = await add_token(database, user, used=True)
    changes = {"email": NEW_EMAIL, "password": NEW_PASSWORD, "current_password": PASSWORD}
    with ExitStack() as reservations:
        async with database.transaction() as session:
            await session.execute(text("SELECT kind FROM attempt_counters FOR UPDATE"))
            # The change has to wait until it can be counted. Another change then takes the place.
            change = await start_until_blocked(
                change_user(client, user, token, **changes), outside_connection
            )
            reservations.enter_context(hasher.reserve_for_change())
        assert (await change).status_code == 200
    hasher.close()


@pytest.mark.private_database
async def test_concurrent_registrations_that_are_refused_as_overloaded_are_not_counted(
    app: FastAPI, client: AsyncClient, database: Database
) -> None:
    replace_resources(app, password_hasher=PasswordHasher(max_pending_changes=2))
    responses = await asyncio.gather(
        *(register(client, f"{number}@example.com") for number in range(10))
    )
    statuses = Counter(response.status_code for response in responses)
    assert set(statuses) == {201, 503}
    assert await read_levels(database) == {"registration": statuses[201]}
