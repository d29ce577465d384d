"""The bucket over boto3, every call of which blocks: for the threads of `storage` alone.

boto3 and what it knows of S3 are a quarter of a server's memory, so this module is imported by the
first that needs the store: a readiness check, or a request about a document.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import boto3
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from app.core.errors import Unavailable
from app.core.storage._storage import THREADS, NotStored, Request
from app.settings import Settings

CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 2, 20, 2  # seconds, seconds, calls
PING: Final = {"connect_timeout": 1, "read_timeout": 1, "retries": {"total_max_attempts": 1}}
_GONE: Final = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_CHUNK: Final = 1024 * 1024  # bytes
log = logging.getLogger(__name__)


class Bucket:
    """One bucket of any S3-compatible store; credentials come from boto3's own chain."""

    def __init__(self, settings: Settings) -> None:
        self._name, self._region = settings.s3_bucket, settings.s3_region
        self._session = boto3.Session(region_name=self._region)
        self._client = self._connected(settings.s3_endpoint_url)
        # Of its own, as is its thread: a ping waits for nothing, and nothing for a ping.
        self._probe = self._connected(settings.s3_endpoint_url, **PING)
        public = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        example = self._connected(public, signature_version=UNSIGNED).generate_presigned_url(
            "get_object", Params={"Bucket": self._name, "Key": "key"}
        )
        self._base_url = str(example).partition("?")[0].removesuffix("key")

    def _connected(self, endpoint: str | None, **options: Any) -> Any:
        """A client; it connects with its first call."""
        patience = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT}
        retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        config = Config(
            **{"signature_version": "s3v4", "retries": retries, **patience, **options},
            max_pool_connections=THREADS,
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
        for client in (self._client, self._probe):
            client.close()

    def ping(self) -> None:
        self._probe.head_bucket(Bucket=self._name)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """What boto3's client calls `operation`, of this bucket."""
        found: dict[str, Any] = getattr(self._client, operation)(Bucket=self._name, **parameters)
        return found

    def sha256(self, key: str, progress: Callable[[], object]) -> str:
        """Of an object, which is read for it; `progress` is told of each MiB."""
        found = hashlib.sha256()
        for chunk in self.call("get_object", Key=key)["Body"].iter_chunks(_CHUNK):
            found.update(chunk)
            progress()
        return found.hexdigest()

    def uploads(self, prefix: str) -> list[tuple[str, str, datetime]]:
        pages = self._client.get_paginator("list_multipart_uploads")
        items = pages.paginate(Bucket=self._name, Prefix=prefix).search("Uploads[]")
        return [(item["Key"], item["UploadId"], item["Initiated"]) for item in items if item]

    def signed(self, method: str, requests: Sequence[Request], seconds: int) -> list[str]:
        if (credentials := self._session.get_credentials()) is None:
            raise NoCredentialsError
        frozen = credentials.get_frozen_credentials()
        signer = S3SigV4QueryAuth(frozen, "s3", self._region, expires=seconds)
        return [self._signed(signer, method, *request) for request in requests]

    def _signed(
        self, signer: S3SigV4QueryAuth, method: str, key: str, query: dict[str, str]
    ) -> str:
        # The signer of boto3 without its client around it, which takes three times as long.
        request = AWSRequest(method, self._base_url + quote(key), params=query)
        signer.add_auth(request)
        return str(request.url)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what our callers know in place of what boto3 says."""
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
