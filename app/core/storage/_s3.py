"""An `ObjectStore` for one bucket of any S3-compatible store, with boto3.

boto3 and its description of S3 take a quarter of the memory of a server, so this module is imported
by the first call to the store.
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

CONNECT_TIMEOUT_SECONDS = 2  # seconds
READ_TIMEOUT_SECONDS = 20  # seconds
MAX_ATTEMPTS = 2  # of each call, the first included
PING_OPTIONS: Final = {
    "connect_timeout": 1,  # seconds
    "read_timeout": 1,  # seconds
    "retries": {"total_max_attempts": 1},
}
READ_SIZE: Final = 1024 * 1024  # bytes
_NOT_STORED_CODES: Final = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
log = logging.getLogger(__name__)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Replace an error of boto3 by `ObjectNotFound` or `Unavailable`."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _NOT_STORED_CODES:
            raise ObjectNotFound from error
        log.warning("the storage failed: %s", error)
        raise Unavailable("The storage failed") from error
    except (BotoCoreError, OSError) as error:
        log.warning("the storage failed: %s", error)
        raise Unavailable("The storage does not answer") from error


class S3Bucket:
    """One bucket. Credentials come from boto3's own chain: environment, files, instance role."""

    @_translate_errors()
    def __init__(self, settings: Settings, max_connections: int) -> None:
        self._name = settings.s3_bucket
        self._region = settings.s3_region
        self._max_connections = max_connections
        self._session = boto3.Session(region_name=self._region)
        self._client = self._create_client(settings.s3_endpoint_url)
        # Its own client, because a ping must not wait for a connection that a call has.
        self._ping_client = self._create_client(settings.s3_endpoint_url, **PING_OPTIONS)
        public_endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._base_url = self._find_base_url(public_endpoint)

    def close(self) -> None:
        self._client.close()
        self._ping_client.close()

    @_translate_errors()
    def ping(self) -> None:
        self._ping_client.head_bucket(Bucket=self._name)

    def put(self, key: str, body: bytearray) -> None:
        self._call("put_object", Key=key, Body=body)

    def start_multipart_upload(self, key: str) -> str:
        upload_id: str = self._call("create_multipart_upload", Key=key)["UploadId"]
        return upload_id

    def upload_part(self, key: str, upload_id: str, number: int, body: bytearray) -> str:
        response = self._call(
            "upload_part", Key=key, UploadId=upload_id, PartNumber=number, Body=body
        )
        etag: str = response["ETag"]
        return etag

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        response = self._call("list_parts", Key=key, UploadId=upload_id)
        return [
            StoredPart(part["ETag"], part["Size"])
            for number, part in enumerate(response.get("Parts", []), 1)
            if part["PartNumber"] == number
        ]

    def complete_multipart_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        # A store may respond with 200 and an error in the body. boto3 raises that error.
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
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
        digest = hashlib.sha256()
        body = self._call("get_object", Key=key)["Body"]
        for chunk in body.iter_chunks(READ_SIZE):
            digest.update(chunk)
            on_progress()
        return digest.hexdigest()

    def list_keys(self, prefix: str, page_token: str | None) -> tuple[list[str], str | None]:
        page_parameters = {} if page_token is None else {"ContinuationToken": page_token}
        response = self._call("list_objects_v2", Prefix=prefix, **page_parameters)
        keys = [item["Key"] for item in response.get("Contents", [])]
        return keys, response.get("NextContinuationToken")

    @_translate_errors()
    def sign_urls(self, method: str, requests: Sequence[ObjectRequest], lifetime: int) -> list[str]:
        # boto3's signer without the client around it, which takes three times as long.
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen_credentials = credentials.get_frozen_credentials()
        signer = S3SigV4QueryAuth(frozen_credentials, "s3", self._region, expires=lifetime)
        urls = []
        for key, parameters in requests:
            request = AWSRequest(method, self._base_url + quote(key), params=parameters)
            signer.add_auth(request)
            urls.append(str(request.url))
        return urls

    @_translate_errors()
    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of boto3's client, such as `put_object`, for this bucket."""
        method = getattr(self._client, operation)
        response: dict[str, Any] = method(Bucket=self._name, **parameters)
        return response

    def _find_base_url(self, endpoint: str | None) -> str:
        """Return the URL to which a key is appended, for example `https://host/bucket/`."""
        client = self._create_client(endpoint, signature_version=UNSIGNED)
        parameters = {"Bucket": self._name, "Key": "key"}
        url: str = client.generate_presigned_url("get_object", Params=parameters)
        return url.partition("?")[0].removesuffix("key")

    def _create_client(self, endpoint: str | None, **options: Any) -> Any:
        """Return a client. It connects when it is first used."""
        defaults = {
            "signature_version": "s3v4",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "read_timeout": READ_TIMEOUT_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        }
        config = Config(
            **{**defaults, **options},
            max_pool_connections=self._max_connections,
            # Otherwise a signed URL would require a checksum that a browser does not send.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if endpoint else "auto",
                # TLS protects the payload, and signing it would hash each part once more.
                "payload_signing_enabled": False,
            },
        )
        return self._session.client("s3", endpoint_url=endpoint, config=config)
