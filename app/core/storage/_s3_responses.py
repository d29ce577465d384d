"""Classification of error responses of the store: not found, not supported, not of S3 at all."""

from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

_NOT_FOUND_CODES: Final = {"NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound"}
# These operations need nothing but the bucket. If they find nothing, the bucket does not exist.
_BUCKET_OPERATIONS: Final = {
    "CreateMultipartUpload",
    "GetBucketVersioning",
    "HeadBucket",
    "ListObjectVersions",
    "ListObjectsV2",
    "PutObject",
}
# The store will accept the request later: it had to wait for too long, the request conflicts with
# another one, there are too many requests, or the store is overloaded.
TEMPORARY_STATUSES: Final = {408, 409, 429, 503}
_NOT_SUPPORTED_STATUSES: Final = {405, 501}
CLIENT_ERRORS: Final = range(400, 500)


def get_error_code(response: Mapping[str, Any]) -> str:
    """Return the code of an error response, or its HTTP status if it has no code."""
    code = response["Error"].get("Code")
    return str(code or response["ResponseMetadata"]["HTTPStatusCode"])


def is_web_page(response: Mapping[str, Any]) -> bool:
    """Return whether an error response is a page for browsers, and not an error of S3.

    A page with another status, such as 502 or 503, may be that of a proxy while the store is down.
    """
    metadata = response["ResponseMetadata"]
    is_html = metadata.get("HTTPHeaders", {}).get("content-type", "").startswith("text/html")
    status = metadata["HTTPStatusCode"]
    is_final = status in CLIENT_ERRORS and status not in TEMPORARY_STATUSES
    # An error of S3 has a code in its body.
    return is_html and is_final and get_error_code(response).isdecimal()


def is_not_found(error: ClientError) -> bool:
    """Return whether an object or a multipart upload does not exist, although the bucket does.

    A store names the reason of a 404. A proxy in front of it does not, for example while the store
    restarts, and then nothing is known about the object. The response to HEAD has no body, so that
    of a proxy cannot be told from that of a store.
    """
    if error.operation_name in _BUCKET_OPERATIONS:
        return False
    code = get_error_code(error.response)
    return code in _NOT_FOUND_CODES or (code == "404" and error.operation_name == "HeadObject")


def is_not_supported(error: ClientError) -> bool:
    """Return whether the store does not implement the operation."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in _NOT_SUPPORTED_STATUSES
