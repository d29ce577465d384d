"""Wrong passwords: ten for an account and fifty from an address, and then one has to wait.

Time is moved by changing when the last failure was; nobody waits for it.
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

NOBODY = "nobody@example.com"
# Time stands still for the failures: what is to be counted is not a matter of how fast we are.
STAND_STILL = """
CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.failed_at = now() + interval '1 minute'; RETURN NEW; END $$;
CREATE TRIGGER stand_still BEFORE INSERT OR UPDATE ON login_failures
FOR EACH ROW EXECUTE FUNCTION stand_still();
"""

LOCK = "SELECT kind FROM login_failures WHERE kind = :kind FOR UPDATE"


async def counted(database: Database, kind: str) -> int | None:
    """The failures of a kind, all together; `None` when there is no record of any."""
    query = "SELECT sum(failures)::int FROM login_failures WHERE kind = :kind"
    found: int | None = await fetch_value(database, query, kind=kind)
    return found


async def failed(
    database: Database, *, account: int = 0, address: int = 0, ago: timedelta = timedelta(0)
) -> None:
    """Make it so many failures, the last of them so long ago, for whatever has failed."""
    statement = """
        UPDATE login_failures SET failed_at = now() - CAST(:ago AS interval),
        failures = CASE kind WHEN 'account' THEN CAST(:account AS int) ELSE :address END
        RETURNING kind
    """
    await fetch_value(database, statement, account=account, address=address, ago=ago)


def wait_of(response: Response) -> int:
    """How many seconds a 429 says that one has to wait."""
    check_problem(response, 429, "too-many-requests")
    return int(response.headers["retry-after"])


async def test_after_ten_wrong_passwords_one_waits_whether_there_is_such_a_user_or_not(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    known = [await log_in(client, EMAIL, WRONG_PASSWORD) for _ in range(10)]
    known += [await log_in(client, EMAIL, WRONG_PASSWORD), await log_in(client, EMAIL, PASSWORD)]
    unknown = [await log_in(client, NOBODY, WRONG_PASSWORD) for _ in range(12)]
    assert [response.status_code for response in known] == [401] * 10 + [429] * 2
    assert wait_of(known[-1]) == 1
    for mine, nobodys in zip(known, unknown, strict=True):
        for response in (mine, nobodys):
            response.headers.pop("x-request-id")
        assert mine.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}
        assert (mine.status_code, mine.headers) == (nobodys.status_code, nobodys.headers)


async def test_the_wait_doubles_with_every_failure_up_to_a_quarter_of_an_hour(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    waits = []
    for failures in [*range(10, 22), 1000]:
        await failed(database, account=failures)
        waits.append(wait_of(await log_in(client, EMAIL, WRONG_PASSWORD)))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


async def test_when_the_wait_is_over_one_may_try_again_once(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await failed(database, account=13, ago=timedelta(seconds=7.5))
    assert wait_of(await log_in(client, EMAIL, WRONG_PASSWORD)) == 1
    await failed(database, account=13, ago=timedelta(seconds=8))
    check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    assert wait_of(await log_in(client, EMAIL, WRONG_PASSWORD)) == 16


async def test_the_right_password_resets_the_count_of_the_account(
    client: AsyncClient, database: Database
) -> None:
    await add_user(database)
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await failed(database, account=13, address=7, ago=timedelta(seconds=8))
    assert (await log_in(client)).status_code == 201
    assert await counted(database, "account") is None
    # Or else whoever has an account could guess on and on at those of others.
    assert await counted(database, "address") == 7


@pytest.mark.parametrize(("account", "address"), [(12, 30), (3, 52)])
async def test_an_attempt_that_is_refused_counts_for_nothing(
    client: AsyncClient, database: Database, account: int, address: int
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await failed(database, account=account, address=address, ago=timedelta(seconds=1))
    rows = "SELECT jsonb_agg(to_jsonb(f) ORDER BY kind)::text FROM login_failures f"
    before = await fetch_value(database, rows)
    for password in (WRONG_PASSWORD, PASSWORD):
        assert wait_of(await log_in(client, EMAIL, password)) == 3
    assert await fetch_value(database, rows) == before


async def test_one_waits_for_the_longer_of_two_waits(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    for account, address, wait in ((12, 58, 256), (18, 52, 256), (9, 53, 8), (13, 49, 8)):
        await failed(database, account=account, address=address)
        assert wait_of(await log_in(client, EMAIL, WRONG_PASSWORD)) == wait


@pytest.mark.parametrize(("minutes", "failures"), [(59, 41), (61, 1)])
async def test_failures_are_forgotten_after_an_hour(
    client: AsyncClient, database: Database, minutes: int, failures: int
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await failed(database, account=40, address=40, ago=timedelta(minutes=minutes))
    check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    assert await counted(database, "account") == failures
    assert await counted(database, "address") == failures


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:DB8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
async def test_after_fifty_wrong_passwords_from_an_address_all_accounts_wait_there(
    app: FastAPI, database: Database, first: str, second: str, same: bool
) -> None:
    await add_user(database)
    async with client_at_address(app, first) as client:
        await log_in(client, "0@example.com", WRONG_PASSWORD)
        await failed(database, account=1, address=49)
        check_problem(await log_in(client, "1@example.com", WRONG_PASSWORD), 401, "unauthorized")
        assert wait_of(await log_in(client, EMAIL, PASSWORD)) == 1
    async with client_at_address(app, second) as client:
        response = await log_in(client, EMAIL, PASSWORD)
        assert response.status_code == (429 if same else 201)


async def test_an_account_waits_wherever_one_asks_from(app: FastAPI, database: Database) -> None:
    await add_user(database)
    async with client_at_address(app, "192.0.2.1") as client:
        await log_in(client, EMAIL, WRONG_PASSWORD)
    await failed(database, account=9, address=1)
    async with client_at_address(app, "203.0.113.1") as client:
        check_problem(await log_in(client, EMAIL, WRONG_PASSWORD), 401, "unauthorized")
    async with client_at_address(app, "198.51.100.1") as client:
        assert wait_of(await log_in(client, EMAIL, PASSWORD)) == 1


# The database's idea of capitals is not everywhere that of Python.
@pytest.mark.parametrize(
    ("email", "other"),
    [
        ("ada@example.com", "ADA@Example.COM"),
        ("\u00e9milie@example.com", "E\u0301MILIE@example.com"),
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ida@example.com", "\u0130da@example.com"),  # a capital I with a dot
        ("\u03b1\u03c3@example.com", "\u0391\u03a3@example.com"),  # sigma, not in its final form
    ],
)
@pytest.mark.parametrize("known", [True, False])
async def test_however_an_email_is_written_its_failures_are_those_of_one_account(
    client: AsyncClient, database: Database, email: str, other: str, known: bool
) -> None:
    if known:
        await add_user(database, email)
        assert (await log_in(client, other, PASSWORD)).status_code == 201
    for written in (email, other):
        check_problem(await log_in(client, written, WRONG_PASSWORD), 401, "unauthorized")
    query = "SELECT array_agg(failures) FROM login_failures WHERE kind = 'account'"
    assert await fetch_value(database, query) == [2]


async def test_no_email_and_no_address_is_kept_of_a_failure(
    app: FastAPI, database: Database
) -> None:
    async with client_at_address(app, "192.0.2.1") as client:
        await log_in(client, EMAIL, WRONG_PASSWORD)
    query = "SELECT jsonb_agg(to_jsonb(f) - 'failed_at' ORDER BY kind) FROM login_failures f"
    rows = await fetch_value(database, query)
    for row in rows:
        assert re.fullmatch(r"\\x[0-9a-f]{64}", row.pop("digest"))
    assert rows == [{"kind": kind, "failures": 1} for kind in ("account", "address")]


@pytest.mark.private_database
async def test_of_thirty_guesses_at_once_on_two_workers_ten_are_looked_at(
    client: AsyncClient,
    database: Database,
    database_url: str,
    outside_connection: asyncpg.Connection,
) -> None:
    await outside_connection.execute(STAND_STILL)
    await add_user(database)
    async with client_of_new_instance(database_url) as second:
        responses = await asyncio.gather(
            *(log_in((client, second)[n % 2], EMAIL, f"guess {n}") for n in range(30))
        )
        assert Counter(response.status_code for response in responses) == {401: 10, 429: 20}
        for each in (client, second):
            assert wait_of(await log_in(each, EMAIL, PASSWORD)) > 1
    assert await counted(database, "account") == 10


# Or else many attempts at one account would make all wait who share the address, and many from one
# address those whose accounts they are, though they are no guesses.
@pytest.mark.private_database
@pytest.mark.parametrize(
    ("held", "left", "emails"),
    [
        ("account", (9, 1), [EMAIL] * 15),
        ("address", (0, 49), [f"{n}@example.com" for n in range(15)]),
    ],
)
async def test_of_attempts_at_once_those_that_are_refused_count_for_nothing_either(
    client: AsyncClient,
    database: Database,
    outside_connection: asyncpg.Connection,
    held: str,
    left: tuple[int, int],
    emails: list[str],
) -> None:
    await outside_connection.execute(STAND_STILL)
    await log_in(client, EMAIL, WRONG_PASSWORD)
    account, address = left
    await failed(database, account=account, address=address)
    async with database.transaction() as session:  # all have begun before the first is counted
        await session.execute(text(LOCK), {"kind": held})
        attempts = [asyncio.create_task(log_in(client, email, WRONG_PASSWORD)) for email in emails]
        await wait_for_query_result(len(attempts), outside_connection, COUNT_WAITING_FOR_LOCK)
    responses = await asyncio.gather(*attempts)
    assert Counter(response.status_code for response in responses) == {401: 1, 429: 14}
    assert await counted(database, "account") == account + 1
    assert await counted(database, "address") == address + 1


@pytest.mark.private_database
async def test_of_many_attempts_after_a_wait_one_is_looked_at(
    client: AsyncClient, database: Database
) -> None:
    await log_in(client, EMAIL, WRONG_PASSWORD)
    await failed(database, account=17, ago=timedelta(seconds=128))
    responses = await asyncio.gather(*(log_in(client, EMAIL, WRONG_PASSWORD) for _ in range(20)))
    assert Counter(response.status_code for response in responses) == {401: 1, 429: 19}
    assert all(
        128 < wait_of(response) <= 256 for response in responses if response.status_code == 429
    )


@pytest.mark.private_database
async def test_a_success_and_an_attempt_wait_for_each_other_in_one_order(
    database: Database, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    # Each takes two rows; if one began with the account and the other with the address, log-ins
    # at once would end in deadlocks. Here an attempt has the account and goes for the address.
    names = {"account": EMAIL, "address": "127.0.0.1"}
    await log_in(client, EMAIL, WRONG_PASSWORD)
    update = text("UPDATE login_failures SET failures = 7 WHERE kind = :kind RETURNING kind")
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL lock_timeout = '200ms'"))
        await session.execute(update, {"kind": "account"})
        success = asyncio.create_task(LoginFailureRepository(database.writes).record_success(names))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
        await session.execute(update, {"kind": "address"})
    await success
    assert await counted(database, "account") is None
    assert await counted(database, "address") == 6
