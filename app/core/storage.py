"""The object store over boto3, every call off the event loop, and the signing of its URLs."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

import boto3
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from app.core import deadlines
from app.core.errors import Overloaded, Unavailable
from app.settings import Settings

PARTS_IN_FLIGHT: Final = 4  # of all uploads together: what bounds their memory
OTHER_CALLS: Final = 4  # threads that parts leave free
MAX_UPLOADS: Final = 32  # at a time; each holds a part that it fills
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 2, 20, 2  # seconds, seconds, calls
PING: Final = {"connect_timeout": 1, "read_timeout": 1, "retries": {"total_max_attempts": 1}}
_GONE: Final = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_CHUNK: Final = 1024 * 1024  # bytes
T = TypeVar("T")
Query = dict[str, str]
Request = tuple[str, Query]  # the key of an object, and the parameters
log = logging.getLogger(__name__)


class NotStored(Exception):
    """There is no such object or multipart upload."""


class Storage:
    """One bucket of any S3-compatible store; credentials come from boto3's own chain.

    Every method raises `Unavailable` when the store does not answer or refuses, and `NotStored`
    for what is not there.
    """

    def __init__(self, settings: Settings) -> None:
        self._bucket, self._region = settings.s3_bucket, settings.s3_region
        self._session = boto3.Session(region_name=self._region)
        self._client = self._connected(settings.s3_endpoint_url)
        # Of its own, as is its thread: a ping waits for nothing, and nothing for a ping.
        self._probe = self._connected(settings.s3_endpoint_url, **PING)
        public = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        example = self._connected(public, signature_version=UNSIGNED).generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": "key"}
        )
        self._base_url = str(example).partition("?")[0].removesuffix("key")
        self._threads = ThreadPoolExecutor(PARTS_IN_FLIGHT + OTHER_CALLS, "storage")
        # Signing is work for the processor alone: it waits for no call.
        self._signer = ThreadPoolExecutor(1, "signing")
        self._pinger = ThreadPoolExecutor(1, "ping")
        self.part_slots = asyncio.Semaphore(PARTS_IN_FLIGHT)
        self._uploads = 0

    def _connected(self, endpoint: str | None, **options: Any) -> Any:
        """A client; it connects with its first call."""
        patience = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT}
        retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        config = Config(
            **{"signature_version": "s3v4", "retries": retries, **patience, **options},
            max_pool_connections=PARTS_IN_FLIGHT + OTHER_CALLS,
            # Else a browser's PUT to a signed URL would lack a checksum that was signed.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if endpoint else "auto",
                "payload_signing_enabled": False,  # TLS does it; it would be one more SHA-256
            },
        )
        return self._session.client("s3", endpoint_url=endpoint, config=config)

    def close(self) -> None:
        for threads in (self._threads, self._signer, self._pinger):
            threads.shutdown(wait=False, cancel_futures=True)  # a call may last for a minute
        for client in (self._client, self._probe):
            client.close()

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

    async def ping(self) -> None:
        await self._run(self._pinger, partial(self._probe.head_bucket, Bucket=self._bucket))

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

    async def sha256(self, key: str) -> str:
        """The hexadecimal SHA-256 of an object, which is read for it."""

        progress = deadlines.progress()

        def digest() -> str:
            found = hashlib.sha256()
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            for chunk in body.iter_chunks(_CHUNK):
                found.update(chunk)
                progress()
            return found.hexdigest()

        return await self._run(self._threads, digest)

    async def uploads(self, prefix: str) -> list[tuple[str, str, datetime]]:
        """Key, id and start of all multipart uploads under a prefix."""

        def found() -> list[tuple[str, str, datetime]]:
            pages = self._client.get_paginator("list_multipart_uploads")
            items = pages.paginate(Bucket=self._bucket, Prefix=prefix).search("Uploads[]")
            return [(item["Key"], item["UploadId"], item["Initiated"]) for item in items if item]

        try:
            return await self._run(self._threads, found)
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

        def urls() -> list[str]:
            if (credentials := self._session.get_credentials()) is None:
                raise NoCredentialsError
            frozen = credentials.get_frozen_credentials()
            signer = S3SigV4QueryAuth(frozen, "s3", self._region, expires=seconds)
            return [self._signed(signer, method, *request) for request in requests]

        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
        return await self._run(self._signer, urls), expires

    def _signed(self, signer: S3SigV4QueryAuth, method: str, key: str, query: Query) -> str:
        # The signer of boto3 without its client around it, which takes three times as long.
        request = AWSRequest(method, self._base_url + quote(key), params=query)
        signer.add_auth(request)
        return str(request.url)

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        call = partial(getattr(self._client, operation), Bucket=self._bucket, **parameters)
        return await self._run(self._threads, call)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        with _translated():
            return await asyncio.get_running_loop().run_in_executor(threads, work)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise NotStored from error
        log.warning("the storage failed: %s", error)
        raise Unavailable("The storage failed") from error
    except (BotoCoreError, OSError) as error:
        log.warning("the storage failed: %s", error)
        raise Unavailable("The storage does not answer") from error
