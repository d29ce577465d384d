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

from app.core.storage._object_store import (
    ListedObject,
    MultipartUpload,
    ObjectRequest,
    ObjectVersion,
    OperationNotSupported,
    StoredPart,
    UploadMarker,
)
from app.core.storage._s3_bodies import compute_md5, is_checksum_required
from app.core.storage._s3_clients import create_s3_client
from app.core.storage._s3_errors import translate_s3_errors
from app.core.storage._s3_lists import parse_objects_page, parse_uploads_page, parse_versions_page
from app.core.storage._s3_probe import PROBE_OPTIONS, BucketProbe
from app.core.storage._s3_responses import is_not_found, is_not_supported
from app.core.storage._s3_urls import UrlSigner, find_bucket_address
from app.settings import Settings

READ_CHUNK_BYTES: Final = 1024 * 1024
# With the status "Suspended", a bucket keeps the versions from the time before.
STATUSES_WITH_VERSIONS: Final = {"Enabled", "Suspended"}
log = logging.getLogger(__name__)


class S3Bucket:
    """One bucket of an S3-compatible store. Implements `ObjectStore`, which explains the methods.

    boto3 finds the credentials in the environment, in its configuration files, or in the role of
    the machine.
    """

    @translate_s3_errors()
    def __init__(self, settings: Settings, max_connections: int) -> None:
        """Create boto3's clients, which connect to the store when they are first used.

        Raises `StoreRejected` if boto3 rejects its configuration.
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

        public_client = self._client
        if settings.s3_public_endpoint_url is not None:
            # Clients reach the store at another URL than the service does.
            public_client = create_client(settings.s3_public_endpoint_url)
        public_address = find_bucket_address(public_client, self._name)
        self._url_signer = UrlSigner(session, public_address)

    def close(self) -> None:
        self._client.close()
        self._probe.close()

    @translate_s3_errors()
    def ping(self) -> None:
        self._probe.run()

    def put(self, key: str, body: bytearray) -> None:
        self._send_body("put_object", body, Key=key)

    @translate_s3_errors()
    def start_multipart_upload(self, key: str) -> str:
        upload_id: str = self._run("create_multipart_upload", Key=key)["UploadId"]
        return upload_id

    def upload_part(self, key: str, upload_id: str, part_number: int, body: bytearray) -> str:
        return self._send_body(
            "upload_part", body, Key=key, UploadId=upload_id, PartNumber=part_number
        )

    @translate_s3_errors()
    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        response = self._run("list_parts", Key=key, UploadId=upload_id)
        stored_parts = []
        for expected_number, part in enumerate(response.get("Parts", []), 1):
            # The response omits missing parts, so the numbers have a gap there.
            if part["PartNumber"] != expected_number:
                break
            stored_parts.append(StoredPart(part["ETag"], part["Size"]))
        return stored_parts

    @translate_s3_errors()
    def complete_multipart_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        parts = [
            {"PartNumber": part_number, "ETag": etag} for part_number, etag in enumerate(etags, 1)
        ]
        self._run(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
        )

    @translate_s3_errors()
    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        self._run("abort_multipart_upload", Key=key, UploadId=upload_id)

    @translate_s3_errors()
    def list_multipart_uploads(
        self, prefix: str, marker: UploadMarker | None
    ) -> tuple[list[MultipartUpload], UploadMarker | None]:
        # Google's store refuses empty markers, so leave out those that it did not return.
        markers = {}
        if marker is not None and marker.key:
            markers["KeyMarker"] = marker.key
        if marker is not None and marker.upload_id:
            markers["UploadIdMarker"] = marker.upload_id
        try:
            response = self._run("list_multipart_uploads", Prefix=prefix, **markers)
        except ClientError as error:
            if is_not_supported(error):
                raise OperationNotSupported from error
            if is_not_found(error):
                # rclone responds with 404 if the prefix has never been used.
                return [], None
            raise
        return parse_uploads_page(response)

    @translate_s3_errors()
    def delete(self, key: str) -> None:
        self._run("delete_object", Key=key)

    @translate_s3_errors()
    def get_size(self, key: str) -> int:
        size: int = self._run("head_object", Key=key)["ContentLength"]
        return size

    @translate_s3_errors()
    def read_range(
        self, key: str, start: int, size: int, on_chunk: Callable[[bytes], None]
    ) -> None:
        # The numbers of the first and the last byte, for example "bytes=0-999".
        byte_range = f"bytes={start}-{start + size - 1}"
        body = self._run("get_object", Key=key, Range=byte_range)["Body"]
        for chunk in body.iter_chunks(READ_CHUNK_BYTES):
            on_chunk(chunk)

    @translate_s3_errors()
    def list_objects(
        self, prefix: str, marker: str | None, after_key: str = ""
    ) -> tuple[list[ListedObject], str | None]:
        page_parameters = {}
        if marker:
            page_parameters["ContinuationToken"] = marker
        elif after_key:
            page_parameters["StartAfter"] = after_key
        response = self._run("list_objects_v2", Prefix=prefix, **page_parameters)
        return parse_objects_page(response)

    @translate_s3_errors()
    def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> tuple[list[str], datetime]:
        return self._url_signer.sign(method, requests, lifetime_seconds)

    @translate_s3_errors()
    def keeps_versions(self) -> bool:
        try:
            response = self._run("get_bucket_versioning")
        except ClientError as error:
            if is_not_supported(error):
                return False
            raise
        return response.get("Status") in STATUSES_WITH_VERSIONS

    @translate_s3_errors()
    def list_versions(self, key: str, marker: str | None) -> tuple[list[ObjectVersion], str | None]:
        page_parameters = {}
        if marker is not None:
            page_parameters = {"KeyMarker": key, "VersionIdMarker": marker}
        response = self._run("list_object_versions", Prefix=key, **page_parameters)
        return parse_versions_page(response, key)

    @translate_s3_errors()
    def remove_delete_marker(self, key: str, marker_id: str) -> None:
        try:
            self._run("delete_object", Key=key, VersionId=marker_id)
        except ClientError as error:
            # The operation needs the permission of this name, which the explanation contains.
            error.operation_name = "DeleteObjectVersion"
            raise

    @translate_s3_errors()
    def _send_body(self, operation: str, body: bytearray, **parameters: Any) -> str:
        """Run an S3 operation that stores `body`. Return the ETag.

        Repeats the operation with a checksum if the store requires one, and sends a checksum from
        then on. Computing it for every store would take more CPU time than sending the bytes does.
        """
        etag: str
        if not self._sends_checksums:
            try:
                etag = self._run(operation, Body=body, **parameters)["ETag"]
            except ClientError as error:
                if not is_checksum_required(error):
                    raise
                log.info("the bucket requires checksums, so Content-MD5 is sent from now on")
                self._sends_checksums = True
            else:
                return etag
        checksum = compute_md5(body)
        etag = self._run(operation, Body=body, ContentMD5=checksum, **parameters)["ETag"]
        return etag

    def _run(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Run an S3 operation on this bucket, and return the response.

        `operation` is the name of a method of boto3's client, and `parameters` are its arguments.
        For example, `_run("delete_object", Key="a")` deletes the object "a".
        """
        client_method = getattr(self._client, operation)
        response: dict[str, Any] = client_method(Bucket=self._name, **parameters)
        return response
