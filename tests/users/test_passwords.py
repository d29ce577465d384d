"""Password hashing: its parameters, its threads and its queue."""

import asyncio

import pytest
from pwdlib import PasswordHash
from pydantic import SecretStr

from app.core.errors import Overloaded
from app.users.passwords import DUMMY_HASH, PasswordHasher

PASSWORD = SecretStr("correct horse battery staple")


async def test_hash_is_argon2id_with_owasp_parameters(password_hasher: PasswordHasher) -> None:
    encoded_hash = await password_hasher.hash(PASSWORD)
    assert encoded_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PasswordHash.recommended().verify(PASSWORD.get_secret_value(), encoded_hash)


async def test_hash_raises_overloaded_when_the_queue_is_full() -> None:
    hasher = PasswordHasher(max_pending=3)
    outcomes = await asyncio.gather(
        *(hasher.hash(PASSWORD) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [str, str, str, Overloaded, Overloaded]
    assert isinstance(await hasher.hash(PASSWORD), str)  # the queue is empty again
    hasher.close()


async def test_finished_hash_frees_its_place_immediately() -> None:
    hasher = PasswordHasher(max_pending=1, max_pending_changes=1)
    # A change of a password verifies the current password, and then hashes the new one.
    with hasher.reserve_for_change() as reserved_hasher:
        await reserved_hasher.verify(PASSWORD, DUMMY_HASH)
    assert isinstance(await hasher.hash(PASSWORD), str)
    hasher.close()


async def test_cancelled_hash_occupies_the_queue_until_it_is_finished() -> None:
    hasher = PasswordHasher(max_pending=1, max_pending_changes=1)
    cancelled_task = asyncio.create_task(hasher.hash(PASSWORD))
    await asyncio.sleep(0)
    cancelled_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled_task
    with pytest.raises(Overloaded):
        await hasher.hash(PASSWORD)
    hasher.close()


async def test_changes_of_passwords_leave_places_in_the_queue_to_logins() -> None:
    hasher = PasswordHasher(max_pending=4, max_pending_changes=2)
    changes = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(10)]
    await asyncio.sleep(0)
    with hasher.reserve() as login, hasher.reserve():
        with pytest.raises(Overloaded), hasher.reserve():
            pass
        assert not (await login.verify(PASSWORD, DUMMY_HASH)).is_correct
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str] * 2 + [Overloaded] * 8
    assert isinstance(await hasher.hash(PASSWORD), str)  # the queue is empty again
    hasher.close()


async def test_event_loop_runs_while_passwords_are_hashed(password_hasher: PasswordHasher) -> None:
    hash_tasks = asyncio.gather(*(password_hasher.hash(PASSWORD) for _ in range(4)))
    event_loop_turns = 0
    while not hash_tasks.done():
        await asyncio.sleep(0)
        event_loop_turns += 1
    assert event_loop_turns > 100
