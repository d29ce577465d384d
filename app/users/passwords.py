"""Password hashing: argon2id with OWASP's parameters, in threads, and only so much at a time."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from app.core.errors import Overloaded

# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
MEMORY_KIB: Final = 19 * 1024  # of each hash
PASSES: Final = 2
THREADS: Final = 2
# Hashes that run or wait: about a second and a half of work.
MAX_PENDING_HASHES: Final = 64
# Verified for unknown users, so that the response time does not reveal whether an account exists.
# No password has this hash.
DUMMY_HASH: Final = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${'A' * 22}${'A' * 43}"
T = TypeVar("T")


class PasswordHasher:
    """Hashes and verifies passwords in a few threads.

    Raises `Overloaded` when `max_pending` hashes run or wait, because a longer queue would only
    make every client wait longer.
    """

    def __init__(self, *, max_pending: int = MAX_PENDING_HASHES) -> None:
        argon2 = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._hasher = PasswordHash((argon2,))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._free_slots = max_pending

    async def hash(self, password: SecretStr) -> str:
        """Return the encoded hash of a password. It takes about 20 ms of a core."""
        with self.hash_slot() as slot:
            return await slot.hash(password)

    @contextmanager
    def hash_slot(self) -> Iterator["HashSlot"]:
        """Hold one of the slots for hashes. Raises `Overloaded` if none is free.

        The holder of a slot can verify and hash several passwords, one after the other, and is not
        refused any more.
        """
        if self._free_slots <= 0:
            raise Overloaded
        self._free_slots -= 1
        slot = HashSlot(self._hasher, self._threads)
        loop = asyncio.get_running_loop()
        try:
            yield slot
        finally:
            # The slot is free when the hash is finished, and not when the request ends: a thread
            # cannot be stopped, so it also computes the hash of a request that was cancelled.
            slot.last_hash.add_done_callback(
                lambda _: loop.call_soon_threadsafe(self._release_slot)
            )

    def close(self) -> None:
        """Cancel the hashes that wait, and wait for those that run."""
        self._threads.shutdown(cancel_futures=True)

    def _release_slot(self) -> None:
        self._free_slots += 1


class HashSlot:
    """A slot for one hash at a time."""

    def __init__(self, hasher: PasswordHash, threads: ThreadPoolExecutor) -> None:
        self._hasher = hasher
        self._threads = threads
        # The hash that was submitted last. Before the first one, it is a future that is done.
        self.last_hash: Future[Any] = Future()
        self.last_hash.set_result(None)

    async def hash(self, password: SecretStr) -> str:
        """Return the encoded hash of a password."""
        return await self._run(self._hasher.hash, password.get_secret_value())

    async def verify(
        self, password: SecretStr, encoded_hash: str | None
    ) -> tuple[bool, str | None]:
        """Compare a password with a hash.

        Returns whether they match, and a stronger hash of the password if the parameters of the
        old one have become too weak. None as the hash takes as long to verify and never matches.
        """
        return await self._run(
            self._hasher.verify_and_update, password.get_secret_value(), encoded_hash or DUMMY_HASH
        )

    async def _run(self, function: Callable[..., T], *arguments: str) -> T:
        work = self._threads.submit(function, *arguments)
        self.last_hash = work
        return await asyncio.wrap_future(work)
