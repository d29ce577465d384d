"""Attacks on the logins of others, on real servers.

A trusted proxy names the address of each client, so that requests come from many networks.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from httpx import AsyncClient, Limits, Response

from tests.support import servers
from tests.support.accounts import PASSWORD, PASSWORD_HASH, WRONG_PASSWORD
from tests.support.processes import TIMEOUT_SECONDS, running_server

# With `pytest --dist loadfile`, only one process starts the server.
pytestmark = pytest.mark.private_database

OFFICE, HOME = "192.0.2.1", "203.0.113.1"
# Users who log in again and again to keep others from logging in.
ATTACKERS = [f"attacker{number}" for number in range(20)]
USERS = ["ada", "bob", "carol", "dave", *ATTACKERS]
INSERT_USERS = f"""
INSERT INTO users (name, email, password_hash)
SELECT name, name || '@example.com', '{PASSWORD_HASH}'
FROM unnest('{{{",".join(USERS)}}}'::text[]) AS name
"""


@asynccontextmanager
async def running_server_with_users(
    template_url: str, *, process_count: int
) -> AsyncIterator[AsyncClient]:
    """Start a server that has users and the access of production, and yield a client of it."""
    async with (
        servers.copy_with_rows(template_url, INSERT_USERS) as url,
        running_server(
            DATABASE_URL=url,
            ANONYMOUS_ACCESS="read",
            TRUSTED_PROXIES="127.0.0.1",
            WEB_CONCURRENCY=str(process_count),
            MAX_REGISTRATIONS_PER_HOUR="50",
            # A test does not read the log of the processes, so its lines must not fill the pipe.
            LOG_LEVEL="ERROR",
        ) as (_, origin),
        AsyncClient(
            base_url=origin,
            timeout=TIMEOUT_SECONDS,
            # The server may close an idle connection just when the client sends a request.
            limits=Limits(max_connections=200, max_keepalive_connections=0),
        ) as client,
    ):
        yield client


@pytest.fixture(scope="module")
async def server_client(template_url: str) -> AsyncIterator[AsyncClient]:
    """A client of a server with two processes."""
    async with running_server_with_users(template_url, process_count=2) as client:
        yield client


@pytest.fixture(scope="module")
async def client_of_one_process(template_url: str) -> AsyncIterator[AsyncClient]:
    """A client of a server with one process, which has fewer places for hashes than two."""
    async with running_server_with_users(template_url, process_count=1) as client:
        yield client


async def log_in(client: AsyncClient, address: str, user: str, password: str) -> Response:
    """Log in from an address."""
    form = {"username": f"{user}@example.com", "password": password}
    return await client.post("/tokens", data=form, headers={"X-Forwarded-For": address})


async def register(client: AsyncClient, address: str, user: str) -> Response:
    """Register from an address."""
    body = {"name": user, "email": f"{user}@example.com", "password": PASSWORD}
    return await client.post("/users", json=body, headers={"X-Forwarded-For": address})


def count_statuses(responses: list[Response]) -> Counter[int]:
    return Counter(response.status_code for response in responses)


async def test_60_failures_of_6_accounts_do_not_delay_a_colleague(
    server_client: AsyncClient,
) -> None:
    failures = [
        await log_in(server_client, OFFICE, f"colleague{number % 6}", WRONG_PASSWORD)
        for number in range(60)
    ]
    assert count_statuses(failures) == {401: 60}
    logins = [await log_in(server_client, OFFICE, "ada", PASSWORD) for _ in range(4)]
    assert count_statuses(logins) == {201: 4}


async def test_botnet_does_not_lock_the_owner_out_of_a_known_network(
    server_client: AsyncClient,
) -> None:
    assert (await log_in(server_client, HOME, "bob", PASSWORD)).status_code == 201
    botnet = (f"198.51.{number}.1" for number in range(40))
    guesses = await asyncio.gather(
        *(log_in(server_client, address, "bob", WRONG_PASSWORD) for address in botnet)
    )
    assert count_statuses(guesses) == {401: 30, 429: 10}
    assert (await log_in(server_client, HOME, "bob", PASSWORD)).status_code == 201
    assert (await log_in(server_client, OFFICE, "bob", PASSWORD)).status_code == 429


async def test_100_registrations_of_a_taken_email_do_not_make_concurrent_logins_fail(
    client_of_one_process: AsyncClient,
) -> None:
    # Many networks, because the limit of one network would end the attack.
    registrations = [
        asyncio.create_task(register(client_of_one_process, f"10.0.{number}.1", "carol"))
        for number in range(100)
    ]
    logins = await asyncio.gather(
        *(log_in(client_of_one_process, HOME, "carol", PASSWORD) for _ in range(10))
    )
    assert count_statuses(logins) == {201: 10}
    assert 201 not in count_statuses(await asyncio.gather(*registrations))


async def test_50_people_behind_one_address_register_at_the_same_moment(
    client_of_one_process: AsyncClient,
) -> None:
    waiting_users = {f"pupil{number}" for number in range(50)}
    while waiting_users:
        responses = {
            user: asyncio.create_task(register(client_of_one_process, OFFICE, user))
            for user in waiting_users
        }
        for user, response in responses.items():
            status = (await response).status_code
            # Those who find no place for a hash may try again, and are not limited any sooner.
            assert status in {201, 503}
            if status == 201:
                waiting_users.remove(user)


async def test_10_of_100_concurrent_guesses_on_two_processes_are_checked(
    server_client: AsyncClient,
) -> None:
    guesses = await asyncio.gather(
        *(log_in(server_client, HOME, "dave", f"the guess {number}") for number in range(100))
    )
    statuses = count_statuses(guesses)
    assert statuses[401] == 10
    # A process has 64 places for hashes, and may refuse further attempts without counting them.
    assert set(statuses) <= {401, 429, 503}


async def test_endless_logins_of_one_network_do_not_make_logins_of_another_fail(
    client_of_one_process: AsyncClient,
) -> None:
    client = client_of_one_process
    attack_has_ended = asyncio.Event()

    async def attack(user: str) -> None:
        while not attack_has_ended.is_set():
            await log_in(client, OFFICE, user, PASSWORD)

    # More logins at a time than there are places for hashes.
    attacks = [asyncio.create_task(attack(user)) for user in ATTACKERS * 4]
    logins = [await log_in(client, HOME, "ada", PASSWORD) for _ in range(5)]
    attack_has_ended.set()
    await asyncio.gather(*attacks)
    assert count_statuses(logins) == {201: 5}
