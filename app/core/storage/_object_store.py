"""The methods that an object store has to implement, and the types and errors that they share.

All methods block, and several threads call them at the same time. They raise these errors, and
never those of a client library:

    ObjectNotFound         The object or the multipart upload does not exist.
    OperationNotSupported  The store lacks an operation that the service can do without.
    StoreRejected          The store refuses the request until an operator has changed something.
    StoreFailed            Everything else has failed. It is the base class of `StoreRejected`.

The last two are `Unavailable`, so clients get the status 503.

Lists are read in pages. A method that returns a page also returns the marker of the next page, or
None after the last page. The caller passes it to get the next page, and None to get the first.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from app.core.errors import Unavailable


class ObjectNotFound(Exception):
    """Raised if an object or a multipart upload does not exist."""


class StoreFailed(Unavailable):
    """A request to the store failed, for example because the store is not responding.

    `reason` tells an operator what failed, for example "does not accept connections". It contains
    no secrets, because the readiness check publishes it.
    """

    type = Unavailable.type
    detail = "The object store is not available. Retry later."

    def __init__(self, reason: str, category: str = "other") -> None:
        """Create the error. `category` is one of the few words in `STORE_FAILURE_REASONS`."""
        super().__init__()
        self.reason = reason
        self.category = category


class StoreRejected(StoreFailed):
    """The store refuses a request, and will refuse it until an operator has changed something."""

    type = Unavailable.type
    detail = (
        "The object store rejects the requests of the service. Retrying does not help until its"
        " operator has corrected this."
    )
    retry_after = None


class OperationNotSupported(Exception):
    """Raised if the store does not implement an operation that the service can do without."""


class ObjectRequest(NamedTuple):
    """A request for one object, which a client can send if it has a signed URL for it."""

    key: str
    # The query parameters, for example {"response-content-type": "application/pdf"}.
    parameters: dict[str, str]
    # The number of bytes that the client has to send. The store refuses a body of another size.
    # None for a request without a body.
    content_length: int | None = None


class StoredPart(NamedTuple):
    """A part of a multipart upload that the store has received."""

    etag: str
    size: int  # bytes


class MultipartUpload(NamedTuple):
    """A multipart upload that is neither completed nor aborted."""

    key: str
    id: str
    # None if the store does not return it.
    started_at: datetime | None


class UploadMarker(NamedTuple):
    """The marker of a page of multipart uploads. A store may return only one of its values."""

    key: str | None
    upload_id: str | None


class ListedObject(NamedTuple):
    """An object in a list of the store."""

    key: str
    size: int  # bytes


class ObjectVersion(NamedTuple):
    """A version of an object, or a delete marker that hides its versions."""

    id: str
    created_at: datetime
    is_delete_marker: bool


class ObjectStore(Protocol):
    """One bucket of an object store. See the module docstring for errors, threads and lists.

    If the bucket keeps versions, deleting an object only adds a delete marker. The object does not
    exist any more, but its versions do. Removing the marker makes the newest of them the object
    again. An operator uses the last three methods to restore deleted objects. A store without
    versions returns False from `keeps_versions`, and the other two are not called.
    """

    def close(self) -> None:
        """Close all connections."""

    def ping(self) -> None:
        """Check within a few seconds that objects can be stored. Never wait for another call."""

    def put(self, key: str, body: bytearray) -> None:
        """Store an object with a single request."""

    def start_multipart_upload(self, key: str) -> str:
        """Start a multipart upload. Return its id."""

    def upload_part(self, key: str, upload_id: str, part_number: int, body: bytearray) -> str:
        """Store a part of a multipart upload. Return its ETag.

        Parts are numbered from 1. Every part except for the last must have at least 5 MiB.
        """

    def list_parts(self, key: str, upload_id: str) -> list[StoredPart]:
        """Return the parts 1, 2, 3 and so on, up to the first one that is missing.

        Returns at most 1,000 parts.
        """

    def complete_multipart_upload(self, key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Create the object from the parts with these ETags, in this order."""

    def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Delete a multipart upload and its parts."""

    def list_multipart_uploads(
        self, prefix: str, marker: UploadMarker | None
    ) -> tuple[list[MultipartUpload], UploadMarker | None]:
        """Return a page of multipart uploads with a prefix, and the marker of the next page.

        Raises `OperationNotSupported` if the store cannot list multipart uploads.
        """

    def delete(self, key: str) -> None:
        """Delete an object. If it does not exist, either do nothing or raise `ObjectNotFound`."""

    def get_size(self, key: str) -> int:
        """Return the size of an object in bytes."""

    def read_range(
        self, key: str, start: int, size: int, on_chunk: Callable[[bytes], None]
    ) -> None:
        """Read `size` bytes of an object from the offset `start`.

        Calls `on_chunk` with each chunk of them as soon as it has been received.
        """

    def list_objects(
        self, prefix: str, marker: str | None, after_key: str = ""
    ) -> tuple[list[ListedObject], str | None]:
        """Return a page of up to 1,000 objects with a prefix, and the marker of the next page.

        The objects are sorted by key. The first page starts after `after_key`, which may be any
        text. The other pages start where the previous one ends.
        """

    def sign_urls(
        self, method: str, requests: Sequence[ObjectRequest], lifetime_seconds: int
    ) -> tuple[list[str], datetime]:
        """Return a signed URL for each request, and the time at which all of them expire.

        They expire after `lifetime_seconds`, or earlier if the credentials that sign them do.
        Anyone who knows a URL can send the request without credentials. `method` is the HTTP method
        of the requests, for example "GET". If a request has a `content_length`, the store refuses a
        body of another size.
        """

    def keeps_versions(self) -> bool:
        """Return whether the bucket keeps the versions of deleted objects."""

    def list_versions(self, key: str, marker: str | None) -> tuple[list[ObjectVersion], str | None]:
        """Return a page of up to 1,000 versions of an object, and the marker of the next page."""

    def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Raise `ObjectNotFound` if it does not exist."""
