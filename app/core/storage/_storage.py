"""Asynchronous access to the object store: calls run in a limited number of threads."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from app.core.storage._limits import create_completion_limits, create_upload_limits
from app.core.storage._object_store import (
    ListedObject,
    MultipartUpload,
    ObjectNotFound,
    ObjectRequest,
    ObjectVersion,
    OperationNotSupported,
    StoredPart,
    UploadMarker,
)
from app.core.storage._pages import iterate_pages
from app.core.storage._store_threads import MAX_CONCURRENT_PARTS, StoreThreads
from app.core.storage._turns import CallerTurns
from app.settings import Settings

# An object is read in slices of this size to compute its SHA-256. The thread that does this changes
# to another object after each slice, so that a small object does not wait for a large one.
SLICE_BYTES: Final = 16 * 1024 * 1024
MISSING_LIST_WARNING: Final = (
    "the object store cannot list multipart uploads, so only those that the service has recorded"
    " are aborted; add a lifecycle rule to the bucket that aborts incomplete multipart uploads"
)

log = logging.getLogger(__name__)


class Storage:
    """Asynchronous access to the bucket in which files are stored.

    A method that calls the store raises `StoreFailed`, which is an `Unavailable`, if the call
    fails, and `ObjectNotFound` if the object or multipart upload does not exist. `ObjectStore`
    explains the methods in detail.
    """

    def __init__(self, settings: Settings) -> None:
        """Create the threads in which calls to the store run. The first call opens the store."""
        self._threads = StoreThreads(settings)
        self._has_logged_missing_list = False

        # Limits the parts that all uploads together are sending.
        self.part_semaphore = asyncio.Semaphore(MAX_CONCURRENT_PARTS)
        # Limits the uploads in progress, of each user, of each network, and in total.
        self.upload_limits = create_upload_limits()
        # Lets each user complete one direct upload at a time.
        self.completion_turns = CallerTurns(create_completion_limits())

    def close(self) -> None:
        """Close the store. Do not wait for running calls, because they may take a minute."""
        self._threads.close()

    async def open(self) -> None:
        """Import boto3 and create its clients, unless this has been done before.

        The first call to the store does the same. Use this method before a call that has a short
        timeout, because the import takes 0.2 seconds of CPU time.
        """
        await self._threads.open()

    async def ping(self) -> None:
        """Check that the store responds, has the bucket, and would store an object."""
        await self._threads.run_ping("ping", lambda store: store.ping())

    async def put(self, key: str, body: bytearray) -> None:
        """Store an object with a single request."""
        await self._threads.run("put", lambda store: store.put(key, body))

    async def start_multipart_upload(self, key: str) -> str:
        """Start a multipart upload. Return its id."""
        return await self._threads.run(
            "start_multipart_upload", lambda store: store.start_multipart_upload(key)
        )

    async def upload_part(self, key: str, upload_id: str, part_number: int, body: bytearray) -> str:
        """Store a part of a multipart upload. Return its ETag.

        Parts are numbered from 1. Every part except for the last must have at least 5 MiB.
        """
        return await self._threads.run(
            "upload_part", lambda store: store.upload_part(key, upload_id, part_number, body)
        )

    async def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts that the store has received, up to the first one that is missing."""
        return await self._threads.run("list_parts", lambda store: store.list_parts(key, upload_id))

    async def complete_multipart_upload(
        self, key: str, upload_id: str, etags: Sequence[str]
    ) -> None:
        """Create the object from the parts with these ETags, in this order."""
        await self._threads.run(
            "complete_multipart_upload",
            lambda store: store.complete_multipart_upload(key, upload_id, etags),
        )

    async def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Delete a multipart upload and its parts. Do nothing if it does not exist."""
        try:
            await self._threads.run(
                "abort_multipart_upload", lambda store: store.abort_multipart_upload(key, upload_id)
            )
        except ObjectNotFound:
            log.debug("the multipart upload of %s has already been completed or aborted", key)

    async def list_multipart_uploads(self, prefix: str) -> AsyncIterator[list[MultipartUpload]]:
        """Yield all multipart uploads whose keys start with a prefix, in lists of up to 1,000.

        Yields only an empty list if the store cannot list them, which is logged once.
        """
        async for uploads in iterate_pages(partial(self._list_uploads_page, prefix)):
            # Some stores ignore the prefix, and the uploads of others must not be touched.
            yield [upload for upload in uploads if upload.key.startswith(prefix)]

    async def delete(self, key: str) -> None:
        """Delete an object. Do nothing if it does not exist."""
        try:
            await self._threads.run("delete", lambda store: store.delete(key))
        except ObjectNotFound:
            # Most stores do not report this as an error, but Google's does.
            log.debug("the object %s did not exist", key)

    async def get_size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        return await self._threads.run("get_size", lambda store: store.get_size(key))

    async def compute_sha256(
        self, key: str, size: int, on_progress: Callable[[], Awaitable[object]]
    ) -> str:
        """Read an object of `size` bytes and return its SHA-256 in hexadecimal.

        All calls share one thread, in which they take turns. Awaits `on_progress` after each slice.
        If it raises an error, or the caller is cancelled, no further slice is read.
        """
        digest = hashlib.sha256()
        for start in range(0, size, SLICE_BYTES):
            slice_size = min(SLICE_BYTES, size - start)
            await self._read_slice(key, start, slice_size, digest.update)
            await on_progress()
        return digest.hexdigest()

    async def list_keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """Yield the keys of all objects that start with a prefix, in lists of up to 1,000 keys."""
        pages = iterate_pages(
            lambda marker: self._threads.run(
                "list_objects", lambda store: store.list_objects(prefix, marker)
            )
        )
        async for page in pages:
            yield [
                listed_object.key for listed_object in page if listed_object.key.startswith(prefix)
            ]

    async def list_objects(self, prefix: str, after_key: str) -> tuple[list[ListedObject], bool]:
        """Return a page of up to 1,000 objects with a prefix, and whether there are more.

        The objects are sorted by key, and start after `after_key`, which may be any text.
        """
        objects, next_marker = await self._threads.run(
            "list_objects", lambda store: store.list_objects(prefix, None, after_key)
        )
        return objects, next_marker is not None

    async def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> tuple[list[str], datetime]:
        """Return a signed URL for each request, and the time at which all of them expire.

        They expire after `lifetime_seconds`, or earlier if the credentials of the store do. Until
        then, anyone who knows a URL can send the request without credentials. `method` is the HTTP
        method of the requests, for example "GET".
        """
        return await self._threads.run_signing(
            "sign_urls", lambda store: store.sign_urls(method, requests, lifetime_seconds)
        )

    async def keeps_versions(self) -> bool:
        """Return whether the bucket keeps the versions of deleted objects."""
        return await self._threads.run("keeps_versions", lambda store: store.keeps_versions())

    async def list_versions(self, key: str) -> list[ObjectVersion]:
        """Return all versions of an object, and the delete markers that hide them."""
        pages = iterate_pages(
            lambda marker: self._threads.run(
                "list_versions", lambda store: store.list_versions(key, marker)
            )
        )
        return [version async for page in pages for version in page]

    async def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Do nothing if it does not exist."""
        try:
            await self._threads.run(
                "remove_delete_marker", lambda store: store.remove_delete_marker(key, marker_id)
            )
        except ObjectNotFound:
            log.debug("another process has removed the delete marker of %s", key)

    async def _list_uploads_page(
        self, prefix: str, marker: UploadMarker | None
    ) -> tuple[list[MultipartUpload], UploadMarker | None]:
        """Return a page of multipart uploads, and the marker of the next page or None."""
        try:
            return await self._threads.run(
                "list_multipart_uploads", lambda store: store.list_multipart_uploads(prefix, marker)
            )
        except OperationNotSupported:
            if not self._has_logged_missing_list:
                log.warning(MISSING_LIST_WARNING)
                self._has_logged_missing_list = True
            return [], None

    async def _read_slice(
        self, key: str, start: int, size: int, on_chunk: Callable[[bytes], None]
    ) -> None:
        """Read a part of an object in the thread for reading."""
        await self._threads.run_reading(
            "read_range", lambda store: store.read_range(key, start, size, on_chunk)
        )
