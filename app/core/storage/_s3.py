"""Implementation of `ObjectStore` with boto3, for any S3-compatible store.

boto3 and its description of S3 take a quarter of the memory of a server, so this module is not
imported before the first call to the store.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from app.core.storage._bucket_address import find_bucket_address
from app.core.storage._object_store import MultipartUpload, ObjectRequest, StoredPart, UploadMarker
from app.core.storage._s3_checksums import compute_md5, is_checksum_required
from app.core.storage._s3_clients import create_s3_client
from app.core.storage._s3_errors import (
    UnexpectedResponse,
    raise_if_not_supported,
    translate_s3_errors,
)
from app.core.storage._s3_probe import PROBE_OPTIONS, BucketProbe
from app.core.storage._s3_urls import UrlSigner
from app.core.storage._s3_versions import S3Versions
from app.settings import Settings

READ_CHUNK_BYTES: Final = 1024 * 1024
log = logging.getLogger(__name__)


class S3Bucket(S3Versions):
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
        session = boto3.Session(region_name=settings.s3_region)
        create_client = partial(
            create_s3_client, session, addressing_style=settings.s3_addressing_style
        )
        endpoint = settings.s3_endpoint_url

        self._client = create_client(endpoint, max_pool_connections=max_connections)
        probe_client = create_client(endpoint, **PROBE_OPTIONS)
        self._probe = BucketProbe(probe_client, self._name, settings.s3_prefix)
        self._sends_checksums = settings.s3_checksums == "always"

        signing_client = self._client
        if settings.s3_public_endpoint_url is not None:
            # Clients reach the store at another URL than the service does.
            signing_client = create_client(settings.s3_public_endpoint_url)
        signed_address = find_bucket_address(signing_client, self._name)
        self._url_signer = UrlSigner(session, signed_address)

    def close(self) -> None:
        self._client.close()
        self._probe.close()

    def ping(self) -> None:
        """Check that the bucket exists, and that the service may store objects in it."""
        self._probe.run()

    def put(self, key: str, body: bytearray) -> None:
        self._send_body("put_object", body, Key=key)

    @translate_s3_errors()
    def start_multipart_upload(self, key: str) -> str:
        response = self._call("create_multipart_upload", Key=key)
        return _read_member(response, "UploadId")

    def upload_part(self, key: str, upload_id: str, part_number: int, body: bytearray) -> str:
        """Store a part of a multipart upload. Return its ETag."""
        return self._send_body(
            "upload_part", body, Key=key, UploadId=upload_id, PartNumber=part_number
        )

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

    @translate_s3_errors()
    def list_multipart_uploads(
        self, prefix: str, marker: UploadMarker | None
    ) -> tuple[list[MultipartUpload], UploadMarker | None]:
        """Return a page of multipart uploads, and the marker of the next page.

        Raises `OperationNotSupported` if the store cannot list multipart uploads.
        """
        # Google's store refuses empty markers, so leave out those that it did not return.
        markers = {}
        if marker is not None and marker.key:
            markers["KeyMarker"] = marker.key
        if marker is not None and marker.upload_id:
            markers["UploadIdMarker"] = marker.upload_id
        with raise_if_not_supported():
            response = self._run("list_multipart_uploads", Prefix=prefix, **markers)
        uploads = [
            MultipartUpload(upload["Key"], upload["UploadId"], upload.get("Initiated"))
            for upload in response.get("Uploads", [])
        ]
        # rclone leaves the element out on the last page.
        has_more = response.get("IsTruncated", False)
        if not has_more:
            return uploads, None
        # The key and id of the last upload would not do: SeaweedFS does not sort uploads by key.
        next_marker = UploadMarker(
            response.get("NextKeyMarker"), response.get("NextUploadIdMarker")
        )
        return uploads, next_marker

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

    def list_keys(self, prefix: str, marker: str | None) -> tuple[list[str], str | None]:
        """Return a page of the keys that start with a prefix, and the marker of the next page."""
        page_parameters = {}
        if marker:
            page_parameters["ContinuationToken"] = marker
        response = self._call("list_objects_v2", Prefix=prefix, **page_parameters)
        keys = [stored_object["Key"] for stored_object in response.get("Contents", [])]
        next_token = response.get("NextContinuationToken", "")
        # Some stores return a token on the last page as well. Others leave the token out although
        # there are more keys. The empty marker leads to the first page again, which is an error.
        has_more = response.get("IsTruncated", next_token != "")
        if not has_more:
            return keys, None
        return keys, next_token

    @translate_s3_errors()
    def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> tuple[list[str], datetime]:
        """Return a signed URL for each request, and the time at which all of them expire.

        `method` is the HTTP method of the requests, for example "GET".
        """
        return self._url_signer.sign(method, requests, lifetime_seconds)

    @translate_s3_errors()
    def _send_body(self, operation: str, body: bytearray, **parameters: Any) -> str:
        """Run an S3 operation that stores `body`. Return the ETag.

        Repeats the operation with a checksum if the store requires one, and sends a checksum from
        then on. Computing it for every store would take more time than sending the bytes.
        """
        if not self._sends_checksums:
            try:
                response = self._run(operation, Body=body, **parameters)
                return _read_member(response, "ETag")
            except ClientError as error:
                if not is_checksum_required(error):
                    raise
                log.info("the bucket requires checksums, so Content-MD5 is sent from now on")
                self._sends_checksums = True
        response = self._run(operation, Body=body, ContentMD5=compute_md5(body), **parameters)
        return _read_member(response, "ETag")

    @translate_s3_errors()
    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Run an S3 operation on this bucket, and return the response."""
        return self._run(operation, **parameters)

    def _run(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Run an S3 operation on this bucket, without translating the errors of boto3.

        `operation` is the name of a method of boto3's client, and `parameters` are its arguments.
        For example, `_run("delete_object", Key="a")` deletes the object "a".
        """
        client_method = getattr(self._client, operation)
        response: dict[str, Any] = client_method(Bucket=self._name, **parameters)
        return response


def _read_member(response: dict[str, Any], name: str) -> str:
    """Return a member that every S3 store sends. Raise `UnexpectedResponse` if it is missing."""
    if name not in response:
        raise UnexpectedResponse
    return str(response[name])
