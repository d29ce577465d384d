"""Checks whether the bucket can be used, for the readiness check."""

from time import monotonic
from typing import Any, Final

from botocore.exceptions import ClientError

from app.core.storage._object_store import StoreRejected
from app.core.storage._s3_bodies import compute_md5
from app.core.storage._s3_reasons import (
    NOT_A_STORE,
    Failure,
    explain_region,
    find_region,
    is_misconfigured,
)

# Options of boto3's client for probes, which have to fail fast. The timeouts are in seconds.
PROBE_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 1,
    "read_timeout": 1,
    "retries": {"total_max_attempts": 1},
}
# How often a probe checks whether the store would store an object.
WRITE_CHECK_INTERVAL_SECONDS: Final = 60
# The id of a multipart upload that does not exist.
UNKNOWN_UPLOAD_ID: Final = "write-check"


class BucketProbe:
    """Checks that the bucket exists, and that the service may store objects in it.

    It has a client of its own, so that it never waits for a connection of another call.
    """

    def __init__(self, client: Any, bucket: str | None, prefix: str) -> None:
        """Use a boto3 client with `PROBE_OPTIONS`, which nothing else may use.

        `prefix` is the prefix of the keys that the service uses.
        """
        self._client = client
        self._is_amazon = ".amazonaws." in self._client.meta.endpoint_url
        self._bucket = bucket
        self._key = f"{prefix}{UNKNOWN_UPLOAD_ID}"
        self._next_write_check_at = 0.0

    def close(self) -> None:
        self._client.close()

    def run(self) -> None:
        """Raise `StoreRejected` or an error of boto3 if the bucket cannot be used."""
        try:
            response = self._client.head_bucket(Bucket=self._bucket)
        except ClientError:
            # The response to HEAD has no body. The response to another request may say why.
            self._check_write_access()
            raise
        self._check_region(response)
        if monotonic() >= self._next_write_check_at:
            self._check_write_access()
            self._next_write_check_at = monotonic() + WRITE_CHECK_INTERVAL_SECONDS

    def _check_region(self, response: dict[str, Any]) -> None:
        """Raise `StoreRejected` if the bucket is in another region of AWS than S3_REGION.

        boto3 follows the redirect to the other region, but signed URLs do not work there.
        """
        region = find_region(response)
        if self._is_amazon and region not in {None, self._client.meta.region_name}:
            raise _rejected(explain_region(region))

    def _check_write_access(self) -> None:
        """Raise an error if the store refuses to store objects with these credentials.

        Sends an empty part of a multipart upload that does not exist. The store checks the
        credentials, the region and the permission before it looks for the upload, and stores
        nothing. Other errors than those of these checks are ignored, because they depend on how the
        store treats an unknown upload.
        """
        try:
            response = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=UNKNOWN_UPLOAD_ID,
                PartNumber=1,
                Body=b"",
                ContentMD5=compute_md5(b""),
            )
        except ClientError as error:
            if is_misconfigured(error):
                raise
            return
        if "ETag" not in response:
            # The server responds with success, but not as an S3 store does.
            raise _rejected(NOT_A_STORE)


def _rejected(failure: Failure) -> StoreRejected:
    """Return the error to raise for a failure."""
    return StoreRejected(failure.reason, failure.category)
