"""Bodies of requests: sent in pieces, with a checksum if required, and again if damaged."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import ClientError

from app.core.storage._s3_reasons import RESENDABLE_BODY_CODES
from app.core.storage._s3_responses import get_error_code

# How many times boto3 sends a request before it gives up, including the first attempt.
MAX_ATTEMPTS: Final = 2
# A connection to the store has to transfer a piece within the connect timeout.
PIECE_BYTES: Final = 512 * 1024
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


def register_request_handlers(client: Any) -> None:
    """Make a boto3 client send bodies in pieces, and send those again that did not arrive."""
    client.meta.events.register("before-send.s3", _split_body)
    client.meta.events.register("needs-retry.s3", _resend_body)


def _split_body(request: AWSPreparedRequest, **_event: object) -> None:
    """Split a body into pieces, which are sent one after the other.

    The connect timeout also applies to sending, but to each piece separately. In one piece, a part
    of 8 MiB would fail if the connection to the store transfers less than 4 MiB per second.
    """
    if isinstance(request.body, bytearray):
        request.body = _Pieces(request.body)


class _Pieces:
    """The pieces of a body, which are not copied."""

    def __init__(self, body: bytearray) -> None:
        self._body = memoryview(body)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._body), PIECE_BYTES):
            yield self._body[start : start + PIECE_BYTES]

    def seek(self, _position: int) -> None:
        """Do nothing. boto3 rewinds a body before it repeats a request, and iterates again."""


def _resend_body(
    response: tuple[object, Mapping[str, Any]] | None, attempts: int, **_event: object
) -> float | None:
    """Return the number of seconds after which boto3 repeats the request, or None to not repeat it.

    boto3 itself repeats a request after a lost connection, a timeout, SlowDown, and the statuses
    429, 500, 502, 503 and 504. The attempts after all of these are counted together.

    `response` is None if the store sent none. Otherwise, its second element is the parsed body.
    """
    if response is None or attempts >= MAX_ATTEMPTS:
        return None
    _, parsed_body = response
    if "Error" in parsed_body and get_error_code(parsed_body) in RESENDABLE_BODY_CODES:
        return 0
    return None
