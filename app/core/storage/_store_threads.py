"""Threads in which the methods of the object store run, so that the event loop is not blocked."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Final, TypeVar

from app.core.storage._object_store import ObjectStore
from app.settings import Settings

# How many parts all uploads together may send at a time. Each of them occupies a thread.
MAX_CONCURRENT_PARTS: Final = 4
# The number of threads that remain for other calls while all of these parts are being sent.
MAX_OTHER_CALLS: Final = 4

ResultT = TypeVar("ResultT")


class StoreThreads:
    """Runs operations on the object store in threads. The first operation opens the store.

    An operation is a function that calls the store, for example `lambda store: store.ping()`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: ObjectStore | None = None
        self._store_lock = Lock()

        self._calls = ThreadPoolExecutor(MAX_CONCURRENT_PARTS + MAX_OTHER_CALLS, "storage")
        # Reading whole objects takes long, so a thread of its own keeps uploads from waiting.
        self._reading = ThreadPoolExecutor(1, "reading")
        # Pings and signatures have threads of their own, so that they never wait for a slow call.
        self._pings = ThreadPoolExecutor(1, "ping")
        self._signing = ThreadPoolExecutor(1, "signing")

    def close(self) -> None:
        """Close the store. Do not wait for running operations."""
        for threads in (self._calls, self._reading, self._pings, self._signing):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    async def open(self) -> None:
        """Open the store, unless this has been done before."""
        if self._store is None:
            # The store is opened before this operation, which does nothing.
            await self.run_ping(lambda _store: None)

    async def run(self, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that sends a request to the store. Return its result."""
        return await self._run_in(self._calls, operation)

    async def run_reading(self, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that reads many bytes from the store. Return its result."""
        return await self._run_in(self._reading, operation)

    async def run_ping(self, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that must not wait for calls. Return its result."""
        return await self._run_in(self._pings, operation)

    async def run_signing(self, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that computes signatures. Return its result."""
        return await self._run_in(self._signing, operation)

    async def _run_in(
        self, threads: ThreadPoolExecutor, operation: Callable[[ObjectStore], ResultT]
    ) -> ResultT:
        """Run an operation in one of these threads. Open the store if necessary."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, lambda: operation(self._open_store()))

    def _open_store(self) -> ObjectStore:
        """Return the object store. The first call imports boto3 and creates its clients."""
        # Several threads may make the first call at the same time.
        with self._store_lock:
            if self._store is None:
                # Imported lazily because boto3 takes a quarter of the memory of a server, and many
                # servers never store a file.
                from app.core.storage._s3 import S3Bucket  # noqa: PLC0415

                # One more for the thread that reads whole objects.
                max_connections = MAX_CONCURRENT_PARTS + MAX_OTHER_CALLS + 1
                self._store = S3Bucket(self._settings, max_connections)
            return self._store
