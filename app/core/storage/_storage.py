"""The object store, every call off the event loop, and the signing of its URLs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from app.core.errors import Overloaded
from app.settings import Settings

if TYPE_CHECKING:
    from app.core.storage._s3 import Bucket

PARTS_IN_FLIGHT: Final = 4  # of all uploads together: what bounds their memory
OTHER_CALLS: Final = 4  # threads that parts leave free
THREADS: Final = PARTS_IN_FLIGHT + OTHER_CALLS
MAX_UPLOADS: Final = 32  # at a time; each holds a part that it fills
T = TypeVar("T")
Request = tuple[str, dict[str, str]]  # the key of an object, and the parameters
log = logging.getLogger(__name__)


class NotStored(Exception):
    """There is no such object or multipart upload."""


class Storage:
    """The store's bucket, from the event loop: how many calls and uploads there are at a time.

    Every method raises `Unavailable` when the store does not answer or refuses, and `NotStored`
    for what is not there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, Lock()
        self._bucket: Bucket | None = None
        self._threads = ThreadPoolExecutor(THREADS, "storage")
        # Signing is work for the processor alone: it waits for no call.
        self._signer = ThreadPoolExecutor(1, "signing")
        self._pinger = ThreadPoolExecutor(1, "ping")
        self.part_slots = asyncio.Semaphore(PARTS_IN_FLIGHT)
        self._uploads = 0

    def close(self) -> None:
        for threads in (self._threads, self._signer, self._pinger):
            threads.shutdown(wait=False, cancel_futures=True)  # a call may last for a minute
        if self._bucket is not None:
            self._bucket.close()

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Room for an upload while the block lasts, or `Overloaded`."""
        if self._uploads >= MAX_UPLOADS:
            raise Overloaded
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def load_client(self) -> None:
        """Import boto3 and create its clients in a thread, if no call has done so yet."""
        if self._bucket is None:
            await self._run(self._pinger, lambda _: None)

    async def ping(self) -> None:
        await self._run(self._pinger, lambda bucket: bucket.ping())

    async def put(self, key: str, body: bytearray) -> None:
        await self._call("put_object", Key=key, Body=body)

    async def start(self, key: str) -> str:
        """Start a multipart upload; its id."""
        return str((await self._call("create_multipart_upload", Key=key))["UploadId"])

    async def put_part(self, key: str, upload_id: str, number: int, body: bytearray) -> str:
        """Store a part, of at least 5 MiB unless it is the last; its ETag."""
        put = self._call("upload_part", Key=key, UploadId=upload_id, PartNumber=number, Body=body)
        return str((await put)["ETag"])

    async def parts(self, key: str, upload_id: str) -> list[tuple[str, int]]:
        """ETag and size of the first 1,000 parts, which must be numbered from 1 without a gap."""
        found = (await self._call("list_parts", Key=key, UploadId=upload_id)).get("Parts", [])
        return [
            (part["ETag"], part["Size"])
            for number, part in enumerate(found, 1)
            if part["PartNumber"] == number
        ]

    async def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of its parts. boto3 takes a 200 with an error in it for the error."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        await self._call(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )

    async def abort(self, key: str, upload_id: str) -> None:
        """Forget a multipart upload and its parts, if it is still there."""
        try:
            await self._call("abort_multipart_upload", Key=key, UploadId=upload_id)
        except NotStored:
            log.debug("the multipart upload of %s is gone already", key)

    async def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        await self._call("delete_object", Key=key)

    async def size(self, key: str) -> int:
        """Bytes of an object."""
        return int((await self._call("head_object", Key=key))["ContentLength"])

    async def sha256(self, key: str, on_progress: Callable[[], object]) -> str:
        """Read an object and return its hexadecimal SHA-256.

        Calls `on_progress` after each MiB, in the thread that reads.
        """
        return await self._run(self._threads, lambda bucket: bucket.sha256(key, on_progress))

    async def uploads(self, prefix: str) -> list[tuple[str, str, datetime]]:
        """Key, id and start of all multipart uploads under a prefix."""
        try:
            return await self._run(self._threads, lambda bucket: bucket.uploads(prefix))
        except NotStored:  # what rclone answers where there never was any
            return []

    async def keys(self, prefix: str) -> AsyncIterator[list[str]]:
        """The keys of all objects under a prefix, up to 1,000 at a time."""
        more: dict[str, str] | None = {}
        while more is not None:
            page = await self._call("list_objects_v2", Prefix=prefix, **more)
            yield [item["Key"] for item in page.get("Contents", [])]
            token = page.get("NextContinuationToken")
            more = {"ContinuationToken": token} if token else None

    async def signed(
        self, method: str, requests: Sequence[Request], seconds: int
    ) -> tuple[list[str], datetime]:
        """URLs that let their bearer do the requests for so long, and when they cease to."""
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
        urls = self._run(self._signer, lambda bucket: bucket.signed(method, requests, seconds))
        return await urls, expires

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return await self._run(self._threads, lambda bucket: bucket.call(operation, **parameters))

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[["Bucket"], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, self._do, work)

    def _do(self, work: Callable[["Bucket"], T]) -> T:
        # Imported lazily because a process that uses no files does without boto3's 25 MiB.
        from app.core.storage import _s3 as s3  # noqa: PLC0415

        with s3.translated():
            with self._lock:
                if self._bucket is None:
                    self._bucket = s3.Bucket(self._settings)
            return work(self._bucket)
