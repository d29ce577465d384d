"""The methods that an object store has to implement, and the types that they share.

All methods block, and several threads call them at the same time. They raise `ObjectNotFound` if an
object or a multipart upload does not exist, and `Unavailable` for every other failure of the store.
They never raise the errors of the client library.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class ObjectNotFound(Exception):
    """Raised for an object or a multipart upload that does not exist."""


class ObjectRequest(NamedTuple):
    """A request about one object, to be signed."""

    key: str
    # The query of the request, for example {"response-content-type": "application/pdf"}.
    parameters: dict[str, str]


class StoredPart(NamedTuple):
    """A part of a multipart upload that has arrived."""

    etag: str
    size: int  # bytes


class MultipartUpload(NamedTuple):
    """A multipart upload that is neither completed nor aborted."""

    key: str
    id: str
    started_at: datetime


class ObjectStore(Protocol):
    """One bucket of an object store. See the module docstring for errors and threads."""

    def close(self) -> None:
        """Close all connections."""

    def ping(self) -> None:
        """Check within a second that the bucket exists. Never wait for another call."""

    def put(self, key: str, body: bytearray) -> None:
        """Store an object."""

    def start_multipart_upload(self, key: str) -> str:
        """Start a multipart upload. Return its id."""

    def upload_part(self, key: str, upload_id: str, number: int, body: bytearray) -> str:
        """Store a part, of at least 5 MiB unless it is the last. Return its ETag.

        Parts are numbered from 1.
        """

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts 1, 2, 3 and so on, up to the first that is missing or 1,000."""

    def complete_multipart_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make an object of the parts with these ETags, in this order."""

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Delete a multipart upload and its parts."""

    def list_multipart_uploads(self, prefix: str) -> list[MultipartUpload]:
        """Return all multipart uploads of keys with this prefix."""

    def delete(self, key: str) -> None:
        """Delete an object. Do nothing if there is none."""

    def get_size(self, key: str) -> int:
        """Return the size of an object in bytes."""

    def compute_sha256(self, key: str, on_progress: Callable[[], object]) -> str:
        """Read an object and return its hexadecimal SHA-256.

        Calls `on_progress` after each MiB.
        """

    def list_keys(self, prefix: str, page_token: str | None) -> tuple[list[str], str | None]:
        """Return up to 1,000 keys with this prefix, and the token of the next page if there is one.

        `page_token` is None for the first page.
        """

    def sign_urls(self, method: str, requests: Sequence[ObjectRequest], lifetime: int) -> list[str]:
        """Return URLs that allow anyone who has them to send these requests.

        They expire after `lifetime` seconds.
        """
