"""Checksums with which the store verifies the bytes that it receives."""

import base64
import hashlib
from typing import Final

from botocore.exceptions import ClientError

from app.core.storage._s3_reasons import get_error_code

# These errors are about the value of a checksum. Other errors that mention one ask for it.
_WRONG_CHECKSUM_CODES: Final = {"BadDigest", "InvalidDigest"}


def compute_md5(body: bytes | bytearray) -> str:
    """Return the value of the header `Content-MD5`.

    The MD5 only protects against damage, so it may be used where a policy such as FIPS forbids MD5
    for security.
    """
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def is_checksum_required(error: ClientError) -> bool:
    """Return whether the store refused a body because the request had no checksum.

    The codes of the error differ, but its message names the header in all stores. Amazon's is
    "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with Object Lock
    parameters" with the code InvalidRequest.
    """
    code = get_error_code(error.response)
    message = error.response["Error"].get("Message")
    return code not in _WRONG_CHECKSUM_CODES and "content-md5" in f"{code} {message}".lower()
