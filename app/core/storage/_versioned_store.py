"""The methods of an object store with which an operator finds lost objects and restores them.

In a bucket with versioning, deleting an object only adds a delete marker. The object does not exist
any more, but its versions are kept. Removing the marker makes the newest version the object again.
"""

from datetime import datetime
from typing import NamedTuple, Protocol


class ListedObject(NamedTuple):
    """An object in a list of the store."""

    key: str
    size: int  # bytes


class ObjectVersion(NamedTuple):
    """A version of an object, or a marker that hides its versions."""

    id: str
    created_at: datetime
    is_delete_marker: bool


class VersionMarker(NamedTuple):
    """The last version of a page of versions, after which the next page starts."""

    key: str
    version_id: str


class VersionedObjectStore(Protocol):
    """A bucket that may keep versions of objects. See `ObjectStore` for errors and threads."""

    def list_objects(self, prefix: str, after_key: str) -> tuple[list[ListedObject], bool]:
        """Return a page of up to 1,000 objects with a prefix, and whether there are more.

        The objects are sorted by key, and start after `after_key`, which may be any text.
        """

    def keeps_versions(self) -> bool:
        """Return whether the bucket keeps the versions of deleted objects."""

    def list_versions(
        self, key: str, marker: VersionMarker | None
    ) -> tuple[list[ObjectVersion], VersionMarker | None]:
        """Return a page of up to 1,000 versions of an object, and the marker of the next page.

        `marker` is None for the first page, and the returned marker is None on the last.
        """

    def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Do nothing if it does not exist."""
