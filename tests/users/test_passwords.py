"""Password hashing: strong, off the event loop, bounded."""

import asyncio

import pytest
from pwdlib import PasswordHash
from pydantic import SecretStr

from app.core.errors import Overloaded
from app.users.passwords import PasswordHasher

SECRET = SecretStr("correct horse battery staple")


async def test_a_hash_is_argon2id_with_owasps_parameters(password_hasher: PasswordHasher) -> None:
    encoded = await password_hasher.hash(SECRET)
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PasswordHash.recommended().verify(SECRET.get_secret_value(), encoded)


async def test_more_hashes_than_the_queue_holds_are_refused_at_once() -> None:
    passwords = PasswordHasher(max_pending=3)
    outcomes = await asyncio.gather(
        *(passwords.hash(SECRET) for _ in range(5)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [str, str, str, Overloaded, Overloaded]
    assert isinstance(await passwords.hash(SECRET), str)  # there is room again
    passwords.close()


async def test_a_hash_that_nobody_waits_for_still_counts_until_it_is_made() -> None:
    passwords = PasswordHasher(max_pending=1)
    abandoned = asyncio.create_task(passwords.hash(SECRET))
    await asyncio.sleep(0)
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    with pytest.raises(Overloaded):
        await passwords.hash(SECRET)
    passwords.close()


async def test_the_event_loop_goes_on_while_passwords_are_hashed(
    password_hasher: PasswordHasher,
) -> None:
    hashing = asyncio.gather(*(password_hasher.hash(SECRET) for _ in range(4)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
