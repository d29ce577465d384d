"""Failed logins: the limits of an account and of a client address, and the time to wait.

Tests do not wait. They change the time of the last failure in the database.
"""

import asyncio
import re
from collections import Counter
from datetime import timedelta

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.users.login_failures import LoginFailureRepository
from tests.support.accounts import (
    EMAIL,
    PASSWORD,
    WRONG_PASSWORD,
    add_user,
    client_at_address,
    client_of_new_instance,
    fetch_value,
    log_in,
)
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.problems import check_problem

UNKNOWN_EMAIL = "nobody@example.com"
# Set the time of every failure one minute ahead, so that blocks do not end during the test.
STOP_TIME = """
CREATE FUNCTION stop_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.failed_at = now() + interval '1 minute'; RETURN NEW; END $$;
CREATE TRIGGER stop_time BEFORE INSERT OR UPDATE ON login_failures
FOR EACH ROW EXECUTE FUNCTION stop_time();
"""

LOCK_COUNTERS = "SELECT kind FROM login_failures WHERE kind = :kind FOR UPDATE"


async def count_failures(database: Database, kind: str) -> int | None:
    """Return the number of all failures of a kind, or None if there is no counter."""
    query = "SELECT sum(failures)::int FROM login_failures WHERE kind = :kind"
    failures: int | None = await fetch_value(database, query, kind=kind)
    return failures


async def set_failures(
    database: Database, *, account: int = 0, address: int = 0, ago: timedelta = timedelta(0)
) -> None:
    """Set the numbers of all existing counters, and the time since the last failure."""
    statement = """
        UPDATE login_failures SET failed_at = now() - CAST(:ago AS interval),
        failures = CASE kind WHEN 'account' THEN CAST(:account AS int) ELSE :address END
        RETURNING kind
    """
    await fetch_value(database, statement, account=account, address=address, ago=ago)


def seconds_to_wait(response: Response) -> int:
    """Check that a response has the status 429, and return its Retry-After in seconds."""
    check_problem(response, 429, "too-many-requests")
    return int(response.headers["retry-after"])


async def test_account_is_blocked_after_10_wrong_passwords_whether_it_exists_or_not(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    known_user = [await log_in(client, EMAIL, WRONG_PASSWORD) for _ in range(10)]
    known_user += [
        await log_in(client, EMAIL, WRONG_PASSWORD),
        await log_in(client, EMAIL, PASSWORD),
    ]
    unknown_user = [await log_in(client, UNKNOWN_EMAIL, WRONG_PASSWORD) for _ in range(12)]
    assert [response.status_code for response in known_user] == [401] * 10 + [429] * 2
    assert seconds_to_wait(known_user[-1]) == 1
    for first, second in zip(known_user, unknown_user, strict=True):
        for response in (first, second):
            response.headers.pop("x-request-id")
        assert first.json() | {"request_id": ""} == second.json() | {"request_id": ""}
        assert (first.status_code, first.headers) == (second.status_code, second.headers)


async def test_wait_doubles_with_every_failure_up_to_15_minutes(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    waits = []
    for failures in [*range(10, 22), 1000]:
        await set_failures(database, account=failures)
        waits.append(seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


async def test_one_attempt_is_allowed_after_the_wait(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_failures(database, account=13, ago=timedelta(seconds=7.5))
    assert seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)) == 1
    await set_failures(database, account=13, ago=timedelta(seconds=8))
    check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    assert seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)) == 16


async def test_correct_password_resets_the_failures_of_the_account_only(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_failures(database, account=13, address=7, ago=timedelta(seconds=8))
    assert (await log_in(client)).status_code == 201
    assert await count_failures(database, "account") is None
    # Otherwise, a user could reset the failures of their address, and guess passwords of others.
    assert await count_failures(database, "address") == 7


@pytest.mark.parametrize(("account", "address"), [(12, 30), (3, 52)])
async def test_refused_attempt_is_not_counted(
    client: AsyncClient, database: Database, account: int, address: int
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_failures(database, account=account, address=address, ago=timedelta(seconds=1))
    select_counters = "SELECT jsonb_agg(to_jsonb(f) ORDER BY kind)::text FROM login_failures f"
    before = await fetch_value(database, select_counters)
    for password in (WRONG_PASSWORD, PASSWORD):
        assert seconds_to_wait(await log_in(client, EMAIL, password)) == 3
    assert await fetch_value(database, select_counters) == before


async def test_wait_is_the_longer_one_of_account_and_address(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    for account, address, wait in ((12, 58, 256), (18, 52, 256), (9, 53, 8), (13, 49, 8)):
        await set_failures(database, account=account, address=address)
        assert seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)) == wait


@pytest.mark.parametrize(("minutes", "failures"), [(59, 41), (61, 1)])
async def test_failures_expire_after_an_hour(
    client: AsyncClient, database: Database, minutes: int, failures: int
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_failures(database, account=40, address=40, ago=timedelta(minutes=minutes))
    check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    assert await count_failures(database, "account") == failures
    assert await count_failures(database, "address") == failures


@pytest.mark.parametrize(
    ("first", "second", "is_same_client"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:DB8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
async def test_address_is_blocked_for_all_accounts_after_50_wrong_passwords(
    app: FastAPI, database: Database, first: str, second: str, is_same_client: bool
) -> None:
    await add_user(database)
    async with client_at_address(app, first) as client:
        await log_in(client, "0@example.com", WRONG_PASSWORD)
        await set_failures(database, account=1, address=49)
        check_problem(await log_in(client, "1@example.com", WRONG_PASSWORD), 401, "unauthorized")
        assert seconds_to_wait(await log_in(client, EMAIL, PASSWORD)) == 1
    async with client_at_address(app, second) as client:
        response = await log_in(client, EMAIL, PASSWORD)
        expected_status = 201
        if is_same_client:
            expected_status = 429
        assert response.status_code == expected_status


async def test_account_is_blocked_at_all_addresses(app: FastAPI, database: Database) -> None:
    await add_user(database)
    async with client_at_address(app, "192.0.2.1") as client:
        await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_failures(database, account=9, address=1)
    async with client_at_address(app, "203.0.113.1") as client:
        check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    async with client_at_address(app, "198.51.100.1") as client:
        assert seconds_to_wait(await log_in(client, EMAIL, PASSWORD)) == 1


# Postgres and Python do not agree on the case of all letters.
@pytest.mark.parametrize(
    ("email", "other_spelling"),
    [
        ("ada@example.com", "ADA@Example.COM"),
        ("\u00e9milie@example.com", "E\u0301MILIE@example.com"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ida@example.com", "\u0130da@example.com"),  # a capital I with a dot
        ("\u03b1\u03c3@example.com", "\u0391\u03a3@example.com"),  # sigma, not in its final form
    ],
)
@pytest.mark.parametrize("user_exists", [True, False])
async def test_all_spellings_of_an_email_count_for_the_same_account(
    client: AsyncClient, database: Database, email: str, other_spelling: str, user_exists: bool
) -> None:
    if user_exists:
        await add_user(database, email)
        assert (await log_in(client, other_spelling, PASSWORD)).status_code == 201
    for spelling in (email, other_spelling):
        check_problem(await log_in(client, spelling, WRONG_PASSWORD), 401, "unauthorized")
    query = "SELECT array_agg(failures) FROM login_failures WHERE kind = 'account'"
    assert await fetch_value(database, query) == [2]


async def test_counters_contain_neither_email_nor_address(app: FastAPI, database: Database) -> None:
    async with client_at_address(app, "192.0.2.1") as client:
        await log_in(client, EMAIL, WRONG_PASSWORD)
    query = "SELECT jsonb_agg(to_jsonb(f) - 'failed_at' ORDER BY kind) FROM login_failures f"
    rows = await fetch_value(database, query)
    for row in rows:
        assert re.fullmatch(r"\\x[0-9a-f]{64}", row.pop("digest"))
    assert rows == [{"kind": kind, "failures": 1} for kind in ("account", "address")]


@pytest.mark.private_database
async def test_10_of_30_concurrent_guesses_on_two_instances_are_checked(
    client: AsyncClient,
    database: Database,
    database_url: str,
    outside_connection: asyncpg.Connection,
) -> None:
    await outside_connection.execute(STOP_TIME)
    await add_user(database)
    async with client_of_new_instance(database_url) as second_instance:
        responses = await asyncio.gather(
            *(log_in((client, second_instance)[n % 2], EMAIL, f"guess {n}") for n in range(30))
        )
        assert Counter(response.status_code for response in responses) == {401: 10, 429: 20}
        for instance in (client, second_instance):
            assert seconds_to_wait(await log_in(instance, EMAIL, PASSWORD)) > 1
    assert await count_failures(database, "account") == 10


# Otherwise, many attempts at one account would block everyone at the same address, and many
# attempts from one address would block accounts, although no password was checked.
@pytest.mark.private_database
@pytest.mark.parametrize(
    ("locked_kind", "failures", "emails"),
    [
        ("account", (9, 1), [EMAIL] * 15),
        ("address", (0, 49), [f"{n}@example.com" for n in range(15)]),
    ],
)
async def test_concurrent_attempts_that_are_refused_are_not_counted(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    locked_kind: str,
    failures: tuple[int, int],
    emails: list[str],
) -> None:
    await outside_connection.execute(STOP_TIME)
    await log_in(client, EMAIL, WRONG_PASSWORD)
    account, address = failures
    await set_failures(database, account=account, address=address)
    # The lock lets all attempts start before the first one is counted.
    async with database.transaction() as session:
        await session.execute(text(LOCK_COUNTERS), {"kind": locked_kind})
        attempts = [asyncio.create_task(log_in(client, email, WRONG_PASSWORD)) for email in emails]
        await wait_for_query_result(len(attempts), outside_connection, COUNT_WAITING_FOR_LOCK)
    responses = await asyncio.gather(*attempts)
    assert Counter(response.status_code for response in responses) == {401: 1, 429: 14}
    assert await count_failures(database, "account") == account + 1
    assert await count_failures(database, "address") == address + 1


@pytest.mark.private_database
async def test_one_of_many_concurrent_attempts_after_the_wait_is_checked(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_failures(database, account=17, ago=timedelta(seconds=128))
    responses = await asyncio.gather(*(log_in(client, EMAIL, WRONG_PASSWORD) for _ in range(20)))
    assert Counter(response.status_code for response in responses) == {401: 1, 429: 19}
    assert all(
        128 < seconds_to_wait(response) <= 256
        for response in responses
        if response.status_code == 429
    )


@pytest.mark.private_database
async def test_success_and_attempt_lock_account_before_address(
    database: Database, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    # Both lock two rows. If one locked the account first and the other the address, concurrent
    # logins could deadlock. Here, an attempt has locked the account and then locks the address.
    subjects = {"account": EMAIL, "address": "127.0.0.1"}
    await log_in(client, EMAIL, WRONG_PASSWORD)
    update = text("UPDATE login_failures SET failures = 7 WHERE kind = :kind RETURNING kind")
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL lock_timeout = '200ms'"))
        await session.execute(update, {"kind": "account"})
        success = asyncio.create_task(
            LoginFailureRepository(database.writes).record_success(subjects)
        )
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
        await session.execute(update, {"kind": "address"})
    await success
    assert await count_failures(database, "account") is None
    assert await count_failures(database, "address") == 6
