"""A password hasher that records the hashes with which it compares passwords."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from pwdlib import PasswordHash

from app.users.passwords import PasswordHasher
from tests.support.resources import replace_resources


class RecordingPasswordHash(PasswordHash):
    """A hash algorithm that also records the hashes that it compares with a password."""

    verified_hashes: list[Any]

    def verify_and_update(self, password: Any, hash: Any) -> tuple[bool, str | None]:
        self.verified_hashes.append(hash)
        return super().verify_and_update(password, hash)

    def verify(self, password: Any, hash: Any) -> bool:
        self.verified_hashes.append(hash)
        return super().verify(password, hash)


@contextmanager
def record_verified_hashes(app: FastAPI) -> Iterator[list[Any]]:
    """Record the hashes that the application compares with passwords, in order."""
    hasher = PasswordHasher()
    algorithm = RecordingPasswordHash(hasher._algorithm.hashers)
    algorithm.verified_hashes = []
    hasher._algorithm = algorithm
    replace_resources(app, password_hasher=hasher)
    try:
        yield algorithm.verified_hashes
    finally:
        hasher.close()
