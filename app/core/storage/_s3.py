"""Implementation of `ObjectStore` with boto3, for any S3-compatible store.

boto3 and its description of S3 take a quarter of the memory of a server, so this module is not
imported before the first call to the store.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import boto3
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from app.core.errors import Unavailable
from app.core.storage._object_store import (
    MultipartUpload,
    ObjectNotFound,
    ObjectRequest,
    StoredPart,
)
from app.settings import Settings

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 20
# How often boto3 sends a request until it gives up, including the first attempt.
MAX_ATTEMPTS = 2
# Options of boto3's client for pings, which have to fail fast. The timeouts are in seconds.
PING_OPTIONS: Final = {
    "connect_timeout": 1,
    "read_timeout": 1,
    "retries": {"total_max_attempts": 1},
}
READ_CHUNK_BYTES: Final = 1024 * 1024
_NOT_FOUND_CODES: Final = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
log = logging.getLogger(__name__)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise `ObjectNotFound` or `Unavailable` instead of an error of boto3, and log the failure."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _NOT_FOUND_CODES:
            raise ObjectNotFound from error
        log.warning("the object store returned an error: %s", error)
        raise Unavailable("The object store returned an error") from error
    except (BotoCoreError, OSError) as error:
        log.warning(
            "a request to the object store failed; check S3_ENDPOINT_URL and the credentials: %s",
            error,
        )
        raise Unavailable("The object store is not available") from error


class S3Bucket:
    """One bucket of an S3-compatible store. Implements `ObjectStore`.

    boto3 finds the credentials in the environment, in its configuration files, or in the role of
    the machine.
    """

    @_translate_errors()
    def __init__(self, settings: Settings, max_connections: int) -> None:
        """Create the boto3 clients. They connect when they are first used."""
        self._name = settings.s3_bucket
        self._region = settings.s3_region
        self._max_connections = max_connections
        self._session = boto3.Session(region_name=self._region)
        self._client = self._create_client(settings.s3_endpoint_url)
        # Pings have a separate client so that they never wait until a call returns its connection.
        self._ping_client = self._create_client(settings.s3_endpoint_url, **PING_OPTIONS)
        public_endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._public_url = self._find_bucket_url(public_endpoint)

    def close(self) -> None:
        self._client.close()
        self._ping_client.close()

    @_translate_errors()
    def ping(self) -> None:
        """Check that the bucket exists, without a retry."""
        self._ping_client.head_bucket(Bucket=self._name)

    def put(self, key: str, body: bytearray) -> None:
        self._call("put_object", Key=key, Body=body)

    def start_multipart_upload(self, key: str) -> str:
        upload_id: str = self._call("create_multipart_upload", Key=key)["UploadId"]
        return upload_id

    def upload_part(self, key: str, upload_id: str, part_number: int, body: bytearray) -> str:
        """Store a part of a multipart upload. Return its ETag."""
        response = self._call(
            "upload_part", Key=key, UploadId=upload_id, PartNumber=part_number, Body=body
        )
        etag: str = response["ETag"]
        return etag

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts that the store has received, up to the first one that is missing."""
        response = self._call("list_parts", Key=key, UploadId=upload_id)
        stored_parts = []
        for expected_number, part in enumerate(response.get("Parts", []), 1):
            # The response has no entry for a part that is missing.
            if part["PartNumber"] != expected_number:
                break
            stored_parts.append(StoredPart(part["ETag"], part["Size"]))
        return stored_parts

    def complete_multipart_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Create the object from the parts with these ETags, in this order.

        A store may respond with 200 and an error in the body. boto3 raises that error.
        """
        parts = [
            {"PartNumber": part_number, "ETag": etag} for part_number, etag in enumerate(etags, 1)
        ]
        self._call(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        self._call("abort_multipart_upload", Key=key, UploadId=upload_id)

    @_translate_errors()
    def list_multipart_uploads(self, prefix: str) -> list[MultipartUpload]:
        """Return all multipart uploads whose keys start with a prefix."""
        paginator = self._client.get_paginator("list_multipart_uploads")
        pages = paginator.paginate(Bucket=self._name, Prefix=prefix)
        return [
            MultipartUpload(item["Key"], item["UploadId"], item["Initiated"])
            for page in pages
            for item in page.get("Uploads", [])
        ]

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=key)

    def get_size(self, key: str) -> int:
        size: int = self._call("head_object", Key=key)["ContentLength"]
        return size

    @_translate_errors()
    def compute_sha256(self, key: str, on_progress: Callable[[], object]) -> str:
        """Read an object in chunks and return its SHA-256 in hexadecimal."""
        digest = hashlib.sha256()
        body = self._call("get_object", Key=key)["Body"]
        for chunk in body.iter_chunks(READ_CHUNK_BYTES):
            digest.update(chunk)
            on_progress()
        return digest.hexdigest()

    def list_keys(self, prefix: str, page_token: str | None) -> tuple[list[str], str | None]:
        """Return a page of keys, and the token of the next page or None."""
        page_parameters = {}
        if page_token is not None:
            page_parameters["ContinuationToken"] = page_token
        response = self._call("list_objects_v2", Prefix=prefix, **page_parameters)
        keys = [item["Key"] for item in response.get("Contents", [])]
        return keys, response.get("NextContinuationToken")

    @_translate_errors()
    def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> list[str]:
        """Return a signed URL for each request, which expires after `lifetime_seconds`.

        Uses boto3's signer directly, because `generate_presigned_url` takes three times as long.
        """
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen_credentials = credentials.get_frozen_credentials()
        signer = S3SigV4QueryAuth(frozen_credentials, "s3", self._region, expires=lifetime_seconds)
        urls = []
        for key, parameters in requests:
            request = AWSRequest(method, self._public_url + quote(key), params=parameters)
            signer.add_auth(request)
            urls.append(str(request.url))
        return urls

    @_translate_errors()
    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of boto3's client for this bucket. `operation` is its name.

        For example, `_call("delete_object", Key="a")` deletes an object.
        """
        method = getattr(self._client, operation)
        response: dict[str, Any] = method(Bucket=self._name, **parameters)
        return response

    def _find_bucket_url(self, endpoint: str | None) -> str:
        """Return the URL of the bucket, for example `https://host/bucket/`.

        Only boto3 knows whether the bucket belongs in the path or in the host name, so this takes
        the URL of an object apart.
        """
        client = self._create_client(endpoint, signature_version=UNSIGNED)
        parameters = {"Bucket": self._name, "Key": "key"}
        object_url: str = client.generate_presigned_url("get_object", Params=parameters)
        url_without_query, _, _ = object_url.partition("?")
        return url_without_query.removesuffix("key")

    def _create_client(self, endpoint: str | None, **options: Any) -> Any:
        """Create a boto3 client for S3. `options` override the default options.

        `endpoint` is the URL of the store. If it is None, the store is the one of AWS.
        """
        defaults = {
            "signature_version": "s3v4",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "read_timeout": READ_TIMEOUT_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        }
        addressing_style = "auto"
        if endpoint is not None:
            # Put the bucket into the path of the URL. A host name such as localhost cannot have it.
            addressing_style = "path"
        config = Config(
            **{**defaults, **options},
            max_pool_connections=self._max_connections,
            # Otherwise, a signed URL would require a checksum that browsers do not send.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": addressing_style,
                # TLS protects the payload. Signing it would hash each part once more.
                "payload_signing_enabled": False,
            },
        )
        return self._session.client("s3", endpoint_url=endpoint, config=config)
