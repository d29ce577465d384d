"""Threads in which the methods of the object store run, so that the event loop is not blocked."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Lock
from typing import Final, TypeVar

from app.core.observability import count_store_failure, measure_store_call
from app.core.storage._object_store import ObjectStore, StoreFailed
from app.settings import Settings

# How many parts all uploads together may send at a time. Each of them occupies a thread.
MAX_CONCURRENT_PARTS: Final = 4
# The number of threads that remain for other calls while all of these parts are being sent.
MAX_OTHER_CALLS: Final = 4

ResultT = TypeVar("ResultT")


def load_client_library() -> None:
    """Import boto3, which takes a second, before the first call to a store needs it."""
    import_module("app.core.storage._s3")


class StoreThreads:
    """Runs operations on the object store in threads. The first operation opens the store.

    An operation is a function that calls the store, for example `lambda store: store.ping()`. Its
    name is a label of the metrics, and is that of the method of `ObjectStore` that it calls.
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
            await self._run_in(self._pings, "open", lambda _store: None)

    async def run(self, name: str, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that sends a request to the store. Return its result."""
        return await self._run_in(self._calls, name, operation)

    async def run_reading(self, name: str, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that reads many bytes from the store. Return its result."""
        return await self._run_in(self._reading, name, operation)

    async def run_ping(self, name: str, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that must not wait for calls. Return its result."""
        return await self._run_in(self._pings, name, operation)

    async def run_signing(self, name: str, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that computes signatures. Return its result."""
        return await self._run_in(self._signing, name, operation)

    async def _run_in(
        self, threads: ThreadPoolExecutor, name: str, operation: Callable[[ObjectStore], ResultT]
    ) -> ResultT:
        """Run an operation in one of these threads. Open the store if necessary."""

        def run_operation() -> ResultT:
            """Run the operation in the thread, and measure it without the wait for the thread."""
            try:
                with measure_store_call(name):
                    return operation(self._open_store())
            except StoreFailed as error:
                count_store_failure(name, error.category)
                raise

        return await asyncio.get_running_loop().run_in_executor(threads, run_operation)

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
