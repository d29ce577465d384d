"""Password hashing with argon2id and OWASP's parameters, in a few threads with a bounded queue."""

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
# Users of the hasher at a time, running or waiting. Their hashes take about 1.5 seconds.
MAX_PENDING_HASHES: Final = 64
# Verified for unknown users, so that the response time does not reveal whether an account exists.
# No password has this hash.
DUMMY_HASH: Final = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${'A' * 22}${'A' * 43}"
Result = TypeVar("Result")


class PasswordHasher:
    """Hashes and verifies passwords in a few threads, without blocking the event loop.

    Raises `Overloaded` when `max_pending` hashes run or wait, because a longer queue would only
    make every client wait longer.
    """

    def __init__(self, *, max_pending: int = MAX_PENDING_HASHES) -> None:
        argon2 = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._algorithm = PasswordHash((argon2,))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._free_places = max_pending

    async def hash(self, password: SecretStr) -> str:
        """Return the encoded hash of a password. This takes about 20 ms of one core.

        Raises `Overloaded` if too many hashes run or wait.
        """
        with self.reserve() as reserved_hasher:
            return await reserved_hasher.hash(password)

    @contextmanager
    def reserve(self) -> Iterator["ReservedHasher"]:
        """Reserve one of the `max_pending` places in the queue for the duration of the block.

        The block can verify and hash several passwords, one after the other, without being refused
        in between.

        Raises `Overloaded` if no place is free.
        """
        if self._free_places <= 0:
            raise Overloaded
        self._free_places -= 1
        reserved_hasher = ReservedHasher(self._algorithm, self._threads)
        loop = asyncio.get_running_loop()
        try:
            yield reserved_hasher
        finally:
            # Free the place when the last hash is finished, which may be after the block: a thread
            # cannot be stopped, so it also finishes the hash of a request that was cancelled. The
            # callback runs in that thread, and the number is changed only in the event loop.
            reserved_hasher.last_hash_task.add_done_callback(
                lambda _: loop.call_soon_threadsafe(self._free_place)
            )

    def close(self) -> None:
        """Cancel the hashes that wait, and block until the running ones are finished."""
        self._threads.shutdown(cancel_futures=True)

    def _free_place(self) -> None:
        self._free_places += 1


class ReservedHasher:
    """Hashes and verifies passwords, one at a time, for a caller with a place in the queue."""

    def __init__(self, algorithm: PasswordHash, threads: ThreadPoolExecutor) -> None:
        self._algorithm = algorithm
        self._threads = threads
        # The task of a thread that was submitted last. Initially a task that is already done.
        self.last_hash_task: Future[Any] = Future()
        self.last_hash_task.set_result(None)

    async def hash(self, password: SecretStr) -> str:
        """Return the encoded hash of a password: `$argon2id$v=19$m=19456,t=2,p=1$...`."""
        return await self._run_in_thread(self._algorithm.hash, password.get_secret_value())

    async def verify(
        self, password: SecretStr, encoded_hash: str | None
    ) -> tuple[bool, str | None]:
        """Compare a password with an encoded hash.

        Returns whether they match, and a stronger hash of the password if the parameters of the
        old hash have become too weak. Without a hash, it takes as long and they never match.
        """
        return await self._run_in_thread(
            self._algorithm.verify_and_update,
            password.get_secret_value(),
            encoded_hash or DUMMY_HASH,
        )

    async def _run_in_thread(self, function: Callable[..., Result], *arguments: str) -> Result:
        task = self._threads.submit(function, *arguments)
        self.last_hash_task = task
        return await asyncio.wrap_future(task)
