"""Password hashing: argon2id with OWASP's parameters, off the event loop and bounded."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from app.core.errors import Overloaded

# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
MEMORY: Final = 19 * 1024  # KiB per hash
ITERATIONS: Final = 2
THREADS: Final = 2  # at 19 MiB and one core each while they run
QUEUE: Final = 64  # hashes that wait or run: about a second and a half of work for two cores


class Passwords:
    """Hashes in two threads. More than `queue` at a time are refused as overloaded."""

    def __init__(self, *, queue: int = QUEUE) -> None:
        self._hasher = PasswordHash(
            (Argon2Hasher(time_cost=ITERATIONS, memory_cost=MEMORY, parallelism=1),)
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._queue = queue
        self._pending = 0

    async def hash(self, password: SecretStr) -> str:
        """The encoded hash, about 20 ms of one core later."""
        if self._pending >= self._queue:
            raise Overloaded
        self._pending += 1
        work = self._threads.submit(self._hasher.hash, password.get_secret_value())
        # Counted until the thread is done with it, also when the request is given up meanwhile.
        loop = asyncio.get_running_loop()
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(work)

    def _done(self) -> None:
        self._pending -= 1

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
