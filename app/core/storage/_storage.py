"""The object store for the event loop: calls run in threads, and their number is bounded."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final, TypeVar

from app.core.errors import Overloaded
from app.core.storage._object_store import (
    MultipartUpload,
    ObjectNotFound,
    ObjectRequest,
    ObjectStore,
    StoredPart,
)
from app.settings import Settings

# Parts that all uploads together send at a time. This bounds their memory.
MAX_CONCURRENT_PARTS: Final = 4
# Threads for calls that are not parts, so that uploads cannot take all of them.
MAX_OTHER_CALLS: Final = 4
# Uploads at a time. Each of them holds the part that it fills.
MAX_CONCURRENT_UPLOADS: Final = 32

T = TypeVar("T")
log = logging.getLogger(__name__)


class Storage:
    """The bucket in which files are stored. No method blocks the event loop.

    Every method that waits for the store raises `Unavailable` if it fails or does not respond, and
    `ObjectNotFound` for an object or a multipart upload that does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare to use the store. The first call opens it."""
        self._settings = settings
        self._store: ObjectStore | None = None
        self._store_lock = Lock()
        self._call_threads = ThreadPoolExecutor(MAX_CONCURRENT_PARTS + MAX_OTHER_CALLS, "storage")
        # Signing needs only the processor, so it must not wait until a call has finished.
        self._signing_thread = ThreadPoolExecutor(1, "signing")
        self._ping_thread = ThreadPoolExecutor(1, "ping")
        self._active_uploads = 0
        # Acquired before each part is sent, and released after it.
        self.part_semaphore = asyncio.Semaphore(MAX_CONCURRENT_PARTS)

    def close(self) -> None:
        """Close the store without waiting for calls, because a call may take a minute."""
        for threads in (self._call_threads, self._signing_thread, self._ping_thread):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    @contextmanager
    def reserve_upload(self) -> Iterator[None]:
        """Hold one of the slots for uploads. Raises `Overloaded` if none is free."""
        if self._active_uploads >= MAX_CONCURRENT_UPLOADS:
            raise Overloaded
        self._active_uploads += 1
        try:
            yield
        finally:
            self._active_uploads -= 1

    async def open(self) -> None:
        """Import boto3 and create its clients in a thread, if no call has done so yet."""
        if self._store is None:
            await self._run(self._ping_thread, lambda _: None)

    async def ping(self) -> None:
        """Check that the store responds and has the bucket."""
        await self._run(self._ping_thread, lambda store: store.ping())

    async def put(self, key: str, body: bytearray) -> None:
        """Store an object with a single request."""
        await self._call(lambda store: store.put(key, body))

    async def start_multipart_upload(self, key: str) -> str:
        """Start a multipart upload. Return its id."""
        return await self._call(lambda store: store.start_multipart_upload(key))

    async def upload_part(self, key: str, upload_id: str, number: int, body: bytearray) -> str:
        """Store a part, of at least 5 MiB unless it is the last. Return its ETag."""
        return await self._call(lambda store: store.upload_part(key, upload_id, number, body))

    async def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts that have arrived, up to the first one that is missing."""
        return await self._call(lambda store: store.list_parts(key, upload_id))

    async def complete_multipart_upload(
        self, key: str, upload_id: str, etags: Sequence[str]
    ) -> None:
        """Make an object of the parts with these ETags, in this order."""
        await self._call(lambda store: store.complete_multipart_upload(key, upload_id, etags))

    async def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Delete a multipart upload and its parts. Do nothing if it does not exist."""
        try:
            await self._call(lambda store: store.abort_multipart_upload(key, upload_id))
        except ObjectNotFound:
            log.debug("the multipart upload of %s does not exist any more", key)

    async def list_multipart_uploads(self, prefix: str) -> list[MultipartUpload]:
        """Return all multipart uploads of keys with this prefix."""
        try:
            return await self._call(lambda store: store.list_multipart_uploads(prefix))
        except ObjectNotFound:
            # The response of rclone for a prefix that was never used.
            return []

    async def delete(self, key: str) -> None:
        """Delete an object. Do nothing if there is none."""
        await self._call(lambda store: store.delete(key))

    async def get_size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        return await self._call(lambda store: store.get_size(key))

    async def compute_sha256(self, key: str, on_progress: Callable[[], object]) -> str:
        """Read an object and return its hexadecimal SHA-256.

        Calls `on_progress` after each MiB, in the thread that reads.
        """
        return await self._call(lambda store: store.compute_sha256(key, on_progress))

    async def list_keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """Return the keys of all objects with this prefix, up to 1,000 at a time."""
        page_token: str | None = None
        while True:
            keys, page_token = await self._list_page(prefix, page_token)
            yield keys
            if page_token is None:
                return

    async def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime: int
    ) -> tuple[list[str], datetime]:
        """Return URLs that allow anyone who has them to send these requests, and their expiry.

        `lifetime` is in seconds.
        """
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lifetime)
        urls = await self._run(
            self._signing_thread, lambda store: store.sign_urls(method, requests, lifetime)
        )
        return urls, expires_at

    async def _list_page(self, prefix: str, page_token: str | None) -> tuple[list[str], str | None]:
        return await self._call(lambda store: store.list_keys(prefix, page_token))

    async def _call(self, operation: Callable[[ObjectStore], T]) -> T:
        return await self._run(self._call_threads, operation)

    async def _run(self, threads: ThreadPoolExecutor, operation: Callable[[ObjectStore], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, lambda: operation(self._open_store()))

    def _open_store(self) -> ObjectStore:
        """Return the store. The first call constructs it."""
        # Imported lazily because boto3 takes a quarter of the memory of a server, and many servers
        # never store a file.
        from app.core.storage._s3 import S3Bucket  # noqa: PLC0415

        with self._store_lock:
            if self._store is None:
                max_connections = MAX_CONCURRENT_PARTS + MAX_OTHER_CALLS
                self._store = S3Bucket(self._settings, max_connections)
            return self._store
