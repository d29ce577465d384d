"""Failed logins: the limits of an account and a network, and the time to wait.

Tests do not wait. They change the levels of the counters in the database.
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
from app.users import credentials
from app.users.attempt_counters import AttemptCounterRepository
from app.users.login_attempts import LoginAttemptRepository
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
from tests.support.attempt_counters import let_time_pass, read_levels, read_rows, set_levels
from tests.support.database_activity import (
    COUNT_WAITING_FOR_LOCK,
    start_until_blocked,
    wait_for_query_result,
)
from tests.support.problems import check_problem

UNKNOWN_EMAIL = "nobody@example.com"
LOCK_COUNTERS = "SELECT kind FROM attempt_counters WHERE kind = :kind FOR UPDATE"
TEN_MINUTES = timedelta(minutes=10)
every_full_counter = pytest.mark.parametrize(
    "levels", [{"account": 30}, {"network": 100}, {"pair": 10}]
)


@pytest.fixture(autouse=True)
def _no_refusal_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse logins immediately. One test sets the time that a refusal takes."""
    monkeypatch.setattr(credentials, "REFUSAL_SECONDS", 0.0)


def seconds_to_wait(response: Response) -> int:
    """Check that a response has the status 429, and return its Retry-After in seconds."""
    check_problem(response, 429, "too-many-requests")
    return int(response.headers["retry-after"])


async def test_pair_is_blocked_after_10_wrong_passwords_whether_the_account_exists_or_not(
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
    for first, second in zip(known_user, unknown_user, strict=True):
        for response in (first, second):
            response.headers.pop("x-request-id")
            # The tenth attempt might still be in progress.
            assert response.headers.pop("retry-after", "3") in {"1", "2", "3"}
        assert first.json() | {"request_id": ""} == second.json() | {"request_id": ""}
        assert (first.status_code, first.headers) == (second.status_code, second.headers)


async def test_level_falls_by_1_in_ten_minutes(client: AsyncClient, database: Database) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, pair=10)
    assert 590 < seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)) <= 600
    await let_time_pass(database, TEN_MINUTES)
    check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    await let_time_pass(database, timedelta(seconds=60))
    assert 530 < seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)) <= 540
    await let_time_pass(database, 10 * TEN_MINUTES)
    assert await read_levels(database) == {}


async def test_correct_password_undoes_only_its_own_attempt(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    assert (await log_in(client)).status_code == 201
    assert await read_levels(database) == {}
    for _ in range(3):
        await log_in(client, EMAIL, WRONG_PASSWORD)
    await log_in(client, UNKNOWN_EMAIL, WRONG_PASSWORD)
    before = await read_levels(database)
    assert before == {"pair": 4, "network": 2, "account": 4}
    assert (await log_in(client)).status_code == 201
    # Otherwise, someone in the same network could see that the owner has logged in.
    assert await read_levels(database) == before


@every_full_counter
async def test_refused_attempt_is_not_counted(
    client: AsyncClient, database: Database, levels: dict[str, float]
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, **levels)
    before = await read_rows(database)
    await asyncio.gather(*(log_in(client, EMAIL, WRONG_PASSWORD) for _ in range(3)))
    assert await read_rows(database) == before


async def test_wait_is_the_longest_of_all_counters(client: AsyncClient, database: Database) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, pair=9.5, network=100, account=29.75)
    assert 440 < seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD)) <= 450


@pytest.mark.parametrize(
    ("first", "second", "is_same_network"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:DB8:0:ff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:100::1", False),
    ],
)
async def test_network_is_blocked_for_new_accounts_after_failures_of_100_accounts(
    app: FastAPI, database: Database, first: str, second: str, is_same_network: bool
) -> None:
    await add_user(database)
    async with client_at_address(app, first) as client:
        await log_in(client, "0@example.com", WRONG_PASSWORD)
        await set_levels(database, network=99)
        check_problem(await log_in(client, "1@example.com", WRONG_PASSWORD), 401, "unauthorized")
    await let_time_pass(database, timedelta(seconds=10))
    async with client_at_address(app, second) as client:
        response = await log_in(client, EMAIL, PASSWORD)
    if is_same_network:
        assert 280 < seconds_to_wait(response) <= 290
    else:
        assert response.status_code == 201


async def test_network_counts_accounts_and_not_attempts(
    client: AsyncClient, database: Database
) -> None:
    for number in range(3):
        for _ in range(5):
            await log_in(client, f"{number}@example.com", WRONG_PASSWORD)
    assert await read_levels(database) == {"pair": 15, "network": 3, "account": 15}
    # Otherwise, a network could guess passwords of 100 accounts all day.
    await let_time_pass(database, timedelta(minutes=61))
    await set_levels(database, network=50)
    await log_in(client, "0@example.com", WRONG_PASSWORD)
    assert (await read_levels(database))["network"] == 51


async def test_account_is_blocked_at_new_networks_after_30_wrong_passwords(
    app: FastAPI, database: Database
) -> None:
    await add_user(database)
    async with client_at_address(app, "192.0.2.1") as client:
        await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, account=29)
    async with client_at_address(app, "203.0.113.1") as client:
        check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    await let_time_pass(database, timedelta(seconds=60))
    async with client_at_address(app, "198.51.100.1") as client:
        assert 530 < seconds_to_wait(await log_in(client, EMAIL, PASSWORD)) <= 540


@pytest.mark.parametrize("levels", [{"account": 30}, {"network": 100}])
async def test_owner_logs_in_from_known_network_although_account_or_network_is_full(
    client: AsyncClient, database: Database, levels: dict[str, float]
) -> None:
    await add_user(database)
    assert (await log_in(client)).status_code == 201
    await log_in(client, UNKNOWN_EMAIL, WRONG_PASSWORD)
    await set_levels(database, **levels)
    assert [(await log_in(client)).status_code for _ in range(7)] == [201] * 7


async def test_network_is_known_for_30_days_after_the_last_login(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    for days, status in ((29, 201), (29, 201), (31, 429)):
        assert (await log_in(client)).status_code == 201
        await let_time_pass(database, timedelta(days=days))
        await log_in(client, UNKNOWN_EMAIL, WRONG_PASSWORD)
        await set_levels(database, network=100)
        assert (await log_in(client)).status_code == status
        await set_levels(database, network=0)


@every_full_counter
async def test_responses_to_wrong_passwords_do_not_reveal_that_a_pair_is_known(
    client: AsyncClient, database: Database, levels: dict[str, float]
) -> None:
    await add_user(database)
    assert (await log_in(client)).status_code == 201
    emails = (EMAIL, UNKNOWN_EMAIL)
    for email in emails:
        check_problem(await log_in(client, email, WRONG_PASSWORD), 401, "unauthorized")
    await set_levels(database, **levels)
    # More attempts than are checked for a known pair.
    responses = await asyncio.gather(
        *(log_in(client, email, WRONG_PASSWORD) for email in emails for _ in range(7))
    )
    problems = [check_problem(response, 429, "too-many-requests") for response in responses]
    assert {problem["detail"] for problem in problems} == {problems[0]["detail"]}
    waits = [seconds_to_wait(response) for response in responses]
    assert max(waits) - min(waits) <= 1
    # Afterwards, both accounts have the same levels.
    await set_levels(database, network=0, account=0)
    statuses = [
        [(await log_in(client, email, WRONG_PASSWORD)).status_code for _ in range(10)]
        for email in emails
    ]
    assert statuses[0] == statuses[1]


@pytest.mark.parametrize("is_known", [True, False])
async def test_refusal_takes_the_same_time_whether_the_password_was_checked_or_not(
    client: AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    await add_user(database)
    if is_known:
        assert (await log_in(client)).status_code == 201
    monkeypatch.setattr(credentials, "REFUSAL_SECONDS", 0.5)
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, account=30)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD))
    assert loop.time() - started_at >= 0.5


async def test_wrong_passwords_at_known_pair_are_checked_5_times_while_account_is_full(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    assert (await log_in(client)).status_code == 201
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, account=30)
    for _ in range(5):
        seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD))
    seconds_to_wait(await log_in(client, EMAIL, PASSWORD))
    await let_time_pass(database, TEN_MINUTES)
    await set_levels(database, account=30)
    assert (await log_in(client, EMAIL, PASSWORD)).status_code == 201


async def test_attempt_that_began_before_another_one_was_counted_is_counted_too(
    database: Database,
) -> None:
    counter = ("known-pair", bytes(32), credentials.KNOWN_PAIR_LIMIT)
    async with database.transaction() as session:
        # The time of the transaction is now earlier than that of the other attempts.
        await session.execute(text("SELECT now()"))
        for _ in range(4):
            assert await AttemptCounterRepository(database.writes).count_attempt(*counter) == 0
        assert await AttemptCounterRepository(session).count_attempt(*counter) == 0
    assert await AttemptCounterRepository(database.writes).count_attempt(*counter) > 0


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
    query = "SELECT count(*) FROM attempt_counters WHERE kind = 'account'"
    assert await fetch_value(database, query) == 1
    assert await read_levels(database) == {"pair": 2, "network": 1, "account": 2}


async def test_failed_login_takes_two_statements_and_a_refused_one_takes_one(
    client: AsyncClient, database: Database, statements: list[str]
) -> None:
    await add_user(database)
    for email in (EMAIL, UNKNOWN_EMAIL):
        statements.clear()
        await log_in(client, email, WRONG_PASSWORD)
        assert len(statements) == 2
    await set_levels(database, pair=10)
    statements.clear()
    seconds_to_wait(await log_in(client, EMAIL, WRONG_PASSWORD))
    assert len(statements) == 1


async def test_counters_contain_neither_email_nor_address(app: FastAPI, database: Database) -> None:
    async with client_at_address(app, "192.0.2.1") as client:
        await log_in(client, EMAIL, WRONG_PASSWORD)
    query = "SELECT jsonb_object_agg(kind, digest) FROM attempt_counters"
    digests = await fetch_value(database, query)
    assert sorted(digests) == ["account", "network", "pair"]
    for digest in digests.values():
        assert re.fullmatch(r"\\x[0-9a-f]{64}", digest)


@pytest.mark.private_database
async def test_10_of_30_concurrent_guesses_on_two_instances_are_checked(
    client: AsyncClient, database: Database, database_url: str
) -> None:
    await add_user(database)
    async with client_of_new_instance(database_url) as second_instance:
        responses = await asyncio.gather(
            *(log_in((client, second_instance)[n % 2], EMAIL, f"guess {n}") for n in range(30))
        )
        assert Counter(response.status_code for response in responses) == {401: 10, 429: 20}
        for instance in (client, second_instance):
            seconds_to_wait(await log_in(instance, EMAIL, PASSWORD))
    assert await read_levels(database) == {"pair": 10, "network": 1, "account": 10}


@pytest.mark.private_database
async def test_concurrent_correct_logins_above_the_limit_may_retry_within_seconds(
    client: AsyncClient, database: Database
) -> None:
    # For example the workers of a test suite, which all log in as the same user.
    await add_user(database)
    responses = await asyncio.gather(*(log_in(client) for _ in range(20)))
    statuses = Counter(response.status_code for response in responses)
    assert statuses[201] >= 10
    for response in responses:
        if response.status_code != 201:
            assert seconds_to_wait(response) <= 3
    assert (await log_in(client)).status_code == 201


async def fail_at_the_same_moment(
    app: FastAPI,
    database: Database,
    outside_connection: asyncpg.Connection,
    locked_kind: str,
    attempts: list[tuple[str, str]],
) -> list[Response]:
    """Send wrong passwords, each from an address for an email, and return the responses.

    A lock of the counters of a kind lets all attempts read the counters before one is counted.
    """
    async with database.transaction() as session:
        await session.execute(text(LOCK_COUNTERS), {"kind": locked_kind})
        tasks = [asyncio.create_task(fail_from(app, address, email)) for address, email in attempts]
        await wait_for_query_result(len(tasks), outside_connection, COUNT_WAITING_FOR_LOCK)
    return await asyncio.gather(*tasks)


async def fail_from(app: FastAPI, address: str, email: str) -> Response:
    """Send a wrong password from an address."""
    async with client_at_address(app, address) as client:
        return await log_in(client, email, WRONG_PASSWORD)


@pytest.mark.private_database
@pytest.mark.parametrize(
    ("full_kind", "level", "attempts"),
    [
        ("pair", 9, [("127.0.0.1", EMAIL)] * 15),
        ("account", 29, [(f"192.0.2.{n}", EMAIL) for n in range(15)]),
        ("network", 99, [("127.0.0.1", f"{n}@example.com") for n in range(15)]),
    ],
)
async def test_1_of_15_concurrent_attempts_is_counted_if_a_counter_has_room_for_1(
    app: FastAPI,
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    full_kind: str,
    level: float,
    attempts: list[tuple[str, str]],
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, **{full_kind: level})
    before = await read_levels(database)
    responses = await fail_at_the_same_moment(
        app, database, outside_connection, full_kind, attempts
    )
    assert Counter(response.status_code for response in responses) == {401: 1, 429: 14}
    counted_kinds = {"pair", "account"}
    if full_kind != "pair":
        counted_kinds.add("network")
    after = await read_levels(database)
    assert after == {kind: before[kind] + (kind in counted_kinds) for kind in before}


@pytest.mark.private_database
async def test_accounts_that_a_network_could_not_count_concurrently_are_counted_later(
    app: FastAPI, client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    # Otherwise, a network could guess passwords of many more accounts than it may.
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await set_levels(database, network=99)
    attempts = [("127.0.0.1", f"{number}@example.com") for number in range(15)]
    responses = await fail_at_the_same_moment(
        app, database, outside_connection, "network", attempts
    )
    refused = [
        attempt
        for attempt, response in zip(attempts, responses, strict=True)
        if response.status_code == 429
    ]
    await let_time_pass(database, timedelta(minutes=5))
    responses = [await fail_from(app, *attempt) for attempt in refused]
    assert Counter(response.status_code for response in responses) == {401: 1, 429: 13}


@pytest.mark.private_database
async def test_success_and_attempt_lock_the_counters_in_the_same_order(
    database: Database, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    # With another order, concurrent logins could deadlock. Here, an attempt has locked the pair and
    # then locks the other counters.
    attempt = await LoginAttemptRepository(database.writes).record(EMAIL, "127.0.0.1")
    assert attempt.is_counted
    lock = text(LOCK_COUNTERS)
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL lock_timeout = '200ms'"))
        await session.execute(lock, {"kind": "pair"})
        success = await start_until_blocked(
            LoginAttemptRepository(database.writes).record_success(attempt), outside_connection
        )
        await session.execute(lock, {"kind": "network"})
        await session.execute(lock, {"kind": "account"})
    await success
    assert await read_levels(database) == {}


@pytest.mark.private_database
async def test_concurrent_logins_of_a_few_accounts_at_a_few_networks_do_not_deadlock(
    app: FastAPI, database: Database
) -> None:
    emails = [f"{number}@example.com" for number in range(3)]
    for email in emails:
        await add_user(database, email)

    async def log_in_from(number: int) -> int:
        password = (PASSWORD, WRONG_PASSWORD)[number % 2]
        async with client_at_address(app, f"192.0.2.{number % 5}") as client:
            return (await log_in(client, emails[number % 3], password)).status_code

    statuses = await asyncio.gather(*(log_in_from(number) for number in range(48)))
    assert Counter(statuses) == {201: 24, 401: 24}
    levels = await read_levels(database)
    assert (levels["pair"], levels["account"]) == (24, 24)
