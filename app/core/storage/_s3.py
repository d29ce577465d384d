"""Implementation of `ObjectStore` with boto3, for any S3-compatible store.

boto3 and its description of S3 take a quarter of the memory of a server, so this module is not
imported before the first call to the store.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import boto3
from botocore import UNSIGNED
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from app.core.storage._object_store import MultipartUpload, ObjectRequest, StoredPart
from app.core.storage._s3_errors import translate_s3_errors
from app.settings import Settings

CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 20
# How many times boto3 sends a request before it gives up, including the first attempt.
MAX_ATTEMPTS = 2
# Options of boto3's client for pings, which have to fail fast. The timeouts are in seconds.
PING_OPTIONS: Final = {
    "connect_timeout": 1,
    "read_timeout": 1,
    "retries": {"total_max_attempts": 1},
}
READ_CHUNK_BYTES: Final = 1024 * 1024


class S3Bucket:
    """One bucket of an S3-compatible store. Implements `ObjectStore`.

    boto3 finds the credentials in the environment, in its configuration files, or in the role of
    the machine.
    """

    @translate_s3_errors()
    def __init__(self, settings: Settings, max_connections: int) -> None:
        """Create boto3's clients, which connect to the store when they are first used.

        Raises `Unavailable` if boto3 rejects its configuration.
        """
        self._name = settings.s3_bucket
        self._region = settings.s3_region
        self._max_connections = max_connections
        self._session = boto3.Session(region_name=self._region)

        self._client = self._create_client(settings.s3_endpoint_url)
        # Pings use a separate client, so that they never wait for a connection of another call.
        self._ping_client = self._create_client(settings.s3_endpoint_url, **PING_OPTIONS)

        # Signed URLs begin with this URL, because clients may reach the store at another one.
        public_endpoint = settings.s3_public_endpoint_url or settings.s3_endpoint_url
        self._public_url = self._build_bucket_url(public_endpoint)

    def close(self) -> None:
        self._client.close()
        self._ping_client.close()

    @translate_s3_errors()
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
        """Return the stored parts 1, 2, 3 and so on, up to the first one that is missing."""
        response = self._call("list_parts", Key=key, UploadId=upload_id)
        stored_parts = []
        for expected_number, part in enumerate(response.get("Parts", []), 1):
            # The response omits missing parts, so the numbers have a gap there.
            if part["PartNumber"] != expected_number:
                break
            stored_parts.append(StoredPart(part["ETag"], part["Size"]))
        return stored_parts

    def complete_multipart_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Create the object from the parts with these ETags, in this order."""
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

    def list_multipart_uploads(
        self, prefix: str, last_upload: MultipartUpload | None
    ) -> tuple[list[MultipartUpload], bool]:
        """Return a page of multipart uploads after `last_upload`, and whether there are more."""
        page_parameters = {}
        if last_upload is not None:
            page_parameters = {"KeyMarker": last_upload.key, "UploadIdMarker": last_upload.id}
        response = self._call("list_multipart_uploads", Prefix=prefix, **page_parameters)
        uploads = [
            MultipartUpload(upload["Key"], upload["UploadId"], upload["Initiated"])
            for upload in response.get("Uploads", [])
        ]
        # rclone leaves the element out on the last page.
        has_more = response.get("IsTruncated", False)
        return uploads, has_more

    def delete(self, key: str) -> None:
        self._call("delete_object", Key=key)

    def get_size(self, key: str) -> int:
        size: int = self._call("head_object", Key=key)["ContentLength"]
        return size

    @translate_s3_errors()
    def read_range(
        self, key: str, start: int, size: int, on_chunk: Callable[[bytes], None]
    ) -> None:
        """Read `size` bytes of an object from the offset `start`, and pass them to `on_chunk`."""
        # The numbers of the first and the last byte, for example "bytes=0-999".
        byte_range = f"bytes={start}-{start + size - 1}"
        body = self._call("get_object", Key=key, Range=byte_range)["Body"]
        for chunk in body.iter_chunks(READ_CHUNK_BYTES):
            on_chunk(chunk)

    def list_keys(self, prefix: str, page_token: str | None) -> tuple[list[str], str | None]:
        """Return a page of the keys that start with a prefix, and the token of the next page.

        `page_token` is None for the first page, and the returned token is None on the last.
        """
        page_parameters = {}
        if page_token is not None:
            page_parameters["ContinuationToken"] = page_token
        response = self._call("list_objects_v2", Prefix=prefix, **page_parameters)
        keys = [stored_object["Key"] for stored_object in response.get("Contents", [])]
        next_page_token = response.get("NextContinuationToken")
        return keys, next_page_token

    @translate_s3_errors()
    def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> list[str]:
        """Return a signed URL for each request, which is valid for `lifetime_seconds`.

        `method` is the HTTP method of the requests, for example "GET".
        """
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        frozen_credentials = credentials.get_frozen_credentials()

        # boto3's `generate_presigned_url` uses the same signer, but takes three times as long.
        signer = S3SigV4QueryAuth(frozen_credentials, "s3", self._region, expires=lifetime_seconds)

        signed_urls = []
        for request in requests:
            object_url = self._public_url + quote(request.key)
            headers = {}
            if request.content_length is not None:
                # The signer signs every header, so the store refuses a body of another size.
                headers["Content-Length"] = str(request.content_length)
            aws_request = AWSRequest(method, object_url, headers, params=request.parameters)
            # The signature becomes a part of the query.
            signer.add_auth(aws_request)
            signed_urls.append(str(aws_request.url))
        return signed_urls

    @translate_s3_errors()
    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Run an S3 operation on this bucket, and return the response.

        `operation` is the name of a method of boto3's client, and `parameters` are its arguments.
        For example, `_call("delete_object", Key="a")` deletes the object "a".
        """
        client_method = getattr(self._client, operation)
        response: dict[str, Any] = client_method(Bucket=self._name, **parameters)
        return response

    def _build_bucket_url(self, endpoint: str | None) -> str:
        """Return the URL of the bucket at an endpoint, for example `https://host/bucket/`.

        boto3 decides whether the bucket is a part of the path or of the host name, but it builds
        only the URLs of objects. This method removes the key from the URL of an object.
        """
        client = self._create_client(endpoint, signature_version=UNSIGNED)
        parameters = {"Bucket": self._name, "Key": "key"}
        object_url: str = client.generate_presigned_url("get_object", Params=parameters)
        url_without_query, _, _ = object_url.partition("?")
        return url_without_query.removesuffix("key")

    def _create_client(self, endpoint: str | None, **options: Any) -> Any:
        """Create a boto3 client for the object store at this URL, or for that of AWS if it is None.

        `options` are arguments of boto3's `Config`, such as `read_timeout=1`. They override the
        defaults below.
        """
        default_options = {
            "signature_version": "s3v4",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "read_timeout": READ_TIMEOUT_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        }
        addressing_style = "auto"
        if endpoint is not None:
            # Put the bucket into the path of the URL instead of the host name, because a host such
            # as `localhost` has no subdomains.
            addressing_style = "path"

        config = Config(
            **{**default_options, **options},
            max_pool_connections=self._max_connections,
            # Otherwise, a signed URL would require a checksum that browsers do not send.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": addressing_style,
                # TLS protects the payload, so do not compute a hash of each part to sign it.
                "payload_signing_enabled": False,
            },
        )
        return self._session.client("s3", endpoint_url=endpoint, config=config)
