"""Password hashing with argon2id and OWASP's parameters, in a few threads with a bounded queue."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import SecretStr

from app.core.caller_limits import CallerLimits
from app.core.errors import Overloaded
from app.core.observability import PASSWORD_HASHES
from app.users.password_fields import normalize_password

# https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
MEMORY_KIB: Final = 19 * 1024  # of each hash
PASSES: Final = 2
THREADS: Final = 2
# How many callers may hash passwords at a time, running or waiting. The last of them waits for
# about 1.5 seconds.
MAX_PENDING_HASHES: Final = 64
# How many logins from one network may be in progress. Correct logins are not limited otherwise, so
# somebody with a few accounts could keep the queue full. A class of 30 can log in together.
MAX_LOGINS_PER_NETWORK: Final = 32
# How many callers may hash new passwords or check the current one. The others are for logins, so
# that registrations cannot make logins fail, or wait for much longer than half a second. A class of
# 30 pupils can register at the same moment.
MAX_PENDING_CHANGES: Final = 32
# A hash that no password has. It is verified for unknown users, so that the response time does not
# reveal whether an account exists.
DUMMY_HASH: Final = f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${'A' * 22}${'A' * 43}"
WAITING_HASHES: Final = PASSWORD_HASHES.labels("waiting")
RUNNING_HASHES: Final = PASSWORD_HASHES.labels("running")
ResultT = TypeVar("ResultT")


class PasswordVerification(NamedTuple):
    """The result of comparing a password with an encoded hash."""

    is_correct: bool
    # A new hash of the password, if the password is correct and its old hash should be replaced:
    # its parameters have become too weak, or the password was hashed without being normalized.
    # Otherwise None.
    new_hash: str | None


class PasswordHasher:
    """Normalizes, hashes and verifies passwords in a few threads, without blocking the event loop.

    The queue of hashes that run or wait has `max_pending` places. If all places are taken, the
    hasher raises `Overloaded`, because a longer queue would only make every client wait longer.
    Logins can take all places. Registrations and changes of a password can take only
    `max_pending_changes` of them, and the rest stays free for logins. A login also has to reserve a
    part of `login_limits`, so that one network cannot take all places.
    """

    def __init__(
        self,
        *,
        max_pending: int = MAX_PENDING_HASHES,
        max_pending_changes: int = MAX_PENDING_CHANGES,
    ) -> None:
        argon2 = Argon2Hasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._algorithm = PasswordHash((argon2,))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self.login_limits = CallerLimits(
            "logins", total=max_pending, per_network=MAX_LOGINS_PER_NETWORK, per_user=max_pending
        )
        self._free_places = max_pending
        self._free_change_places = max_pending_changes

    async def hash(self, password: SecretStr) -> str:
        """Hash a new password, for example to `$argon2id$v=19$m=19456,t=2,p=1$...`.

        This takes about 20 ms of one core. Raises `Overloaded` if too many hashes run or wait.
        """
        with self.reserve_for_change() as reserved_hasher:
            return await reserved_hasher.hash(password)

    def check_free_place(self) -> None:
        """Raise `Overloaded` if all places in the queue are taken, without taking one."""
        if self._free_places <= 0:
            raise Overloaded

    @contextmanager
    def reserve_for_change(self) -> Iterator["ReservedHasher"]:
        """Reserve one of the places for changes of a password. Otherwise the same as `reserve`."""
        if self._free_change_places <= 0:
            raise Overloaded
        with self.reserve() as reserved_hasher:
            self._free_change_places -= 1
            try:
                yield reserved_hasher
            finally:
                self._call_after_last_hash(reserved_hasher, self._free_change_place)

    @contextmanager
    def reserve(self) -> Iterator["ReservedHasher"]:
        """Reserve one place in the queue of the hasher for the duration of the `with` block.

        The block can then verify and hash several passwords, one after the other, without being
        refused in between. Raises `Overloaded` if all places are taken.
        """
        self.check_free_place()
        self._free_places -= 1
        reserved_hasher = ReservedHasher(self._algorithm, self._threads)
        try:
            yield reserved_hasher
        finally:
            self._call_after_last_hash(reserved_hasher, self._free_place)

    def close(self) -> None:
        """Cancel the hashes that wait, and block until the running hashes are finished."""
        self._threads.shutdown(cancel_futures=True)

    def _call_after_last_hash(
        self, reserved_hasher: "ReservedHasher", free_place: Callable[[], None]
    ) -> None:
        """Free a place when the last hash of its caller is finished, which is usually now.

        If the request was cancelled, a thread may still compute the hash after the end of the
        block, because a thread cannot be stopped. The callback runs in that thread, so it asks the
        event loop to free the place.
        """
        if reserved_hasher.last_hash_task.done():
            free_place()
            return
        loop = asyncio.get_running_loop()
        reserved_hasher.last_hash_task.add_done_callback(
            lambda _: loop.call_soon_threadsafe(free_place)
        )

    def _free_place(self) -> None:
        """Make a place in the queue available to the next caller."""
        self._free_places += 1

    def _free_change_place(self) -> None:
        """Make a place for changes of a password available to the next caller."""
        self._free_change_places += 1


class ReservedHasher:
    """Hashes and verifies passwords, one at a time, for a caller of `PasswordHasher.reserve`.

    The caller has a place in the queue, so its hashes are never refused with `Overloaded`.
    """

    def __init__(self, algorithm: PasswordHash, threads: ThreadPoolExecutor) -> None:
        """Create a hasher that runs the algorithm in these threads."""
        self._algorithm = algorithm
        self._threads = threads
        # The task that computes the latest hash. Before the first hash, it is a task that is done.
        self.last_hash_task: Future[Any] = Future()
        self.last_hash_task.set_result(None)

    async def hash(self, password: SecretStr) -> str:
        """Hash a password, for example to `$argon2id$v=19$m=19456,t=2,p=1$...`."""
        normalized_password = normalize_password(password.get_secret_value())
        return await self._run_in_thread(self._algorithm.hash, normalized_password)

    async def verify(self, password: SecretStr, encoded_hash: str) -> PasswordVerification:
        """Compare a password with an encoded hash.

        If the password is correct and its hash should be replaced, the result also contains a new
        hash of the password.
        """
        return await self._run_in_thread(
            self._verify_both_forms, password.get_secret_value(), encoded_hash
        )

    def _verify_both_forms(self, password: str, encoded_hash: str) -> PasswordVerification:
        """Compare a normalized password with a hash, and then the password as it was sent.

        Releases that did not normalize passwords hashed them as they were sent. The second
        comparison depends only on the password, so the response time does not reveal whether an
        account exists. ASCII passwords do not need it.
        """
        normalized_password = normalize_password(password)
        is_correct, new_hash = self._algorithm.verify_and_update(normalized_password, encoded_hash)
        if is_correct or password == normalized_password:
            return PasswordVerification(is_correct, new_hash)
        if not self._algorithm.verify(password, encoded_hash):
            return PasswordVerification(is_correct=False, new_hash=None)
        new_hash = self._algorithm.hash(normalized_password)
        return PasswordVerification(is_correct=True, new_hash=new_hash)

    async def _run_in_thread(self, function: Callable[..., ResultT], *arguments: str) -> ResultT:
        """Call a function in one of the threads, and return its result."""
        WAITING_HASHES.inc()

        def run_function() -> ResultT:
            WAITING_HASHES.dec()
            with RUNNING_HASHES.track_inprogress():
                return function(*arguments)

        task = self._threads.submit(run_function)
        task.add_done_callback(_uncount_cancelled_hash)
        self.last_hash_task = task
        return await asyncio.wrap_future(task)


def _uncount_cancelled_hash(task: Future[Any]) -> None:
    """Stop counting a hash that was cancelled while it waited for a thread."""
    if task.cancelled():
        WAITING_HASHES.dec()
