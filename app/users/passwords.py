"""Password hashing: argon2id with OWASP's parameters, off the event loop and bounded."""

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
MEMORY: Final = 19 * 1024  # KiB per hash
THREADS: Final = 2
TIME: Final = 2  # passes
QUEUE: Final = 64  # hashes that wait or run: about a second and a half of work
# Of no password, and as slow to verify as that of one.
NOBODYS: Final = f"$argon2id$v=19$m={MEMORY},t={TIME},p=1${'A' * 22}${'A' * 43}"
T = TypeVar("T")


class Passwords:
    """Hashes in a few threads of its own; more than `queue` at a time are refused."""

    def __init__(self, *, queue: int = QUEUE) -> None:
        self._hasher = PasswordHash(
            (Argon2Hasher(time_cost=TIME, memory_cost=MEMORY, parallelism=1),)
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._free = queue

    async def hash(self, password: SecretStr) -> str:
        """The encoded hash, some 20 ms of a core later."""
        with self.place() as place:
            return await place.run(self._hasher.hash, password.get_secret_value())

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """A place in the queue, or `Overloaded`: whoever has one is not refused any more."""
        if self._free <= 0:
            raise Overloaded
        self._free -= 1
        place = Place(self._hasher, self._threads)
        release = asyncio.get_running_loop().call_soon_threadsafe
        try:
            yield place
        finally:
            # By the thread, not by us: a request that is given up still has its hash made.
            place.work.add_done_callback(lambda _: release(self._release))

    def _release(self) -> None:
        self._free += 1

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class Place:
    """A place in the queue, for one hash after the other."""

    def __init__(self, hasher: PasswordHash, threads: ThreadPoolExecutor) -> None:
        self._hasher, self._threads = hasher, threads
        self.work: Future[Any] = Future()  # the last
        self.work.set_result(None)

    async def verify(self, password: SecretStr, encoded: str | None) -> tuple[bool, str | None]:
        """Whether it is the password of a hash, and its new hash where that has grown too weak.

        `None`, for a user that there is not, takes as long and is never right.
        """
        given = (password.get_secret_value(), encoded or NOBODYS)
        return await self.run(self._hasher.verify_and_update, *given)

    async def run(self, function: Callable[..., T], *given: str) -> T:
        work = self.work = self._threads.submit(function, *given)
        return await asyncio.wrap_future(work)
