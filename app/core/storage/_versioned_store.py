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


class DeleteMarker(NamedTuple):
    """A marker that hides the versions of an object, so that the object does not exist."""

    id: str
    created_at: datetime


class ObjectHistory(NamedTuple):
    """The delete markers of an object, and whether the store has kept a version of it."""

    delete_markers: list[DeleteMarker]
    has_version: bool


class VersionedObjectStore(Protocol):
    """A bucket that may keep versions of objects. See `ObjectStore` for errors and threads."""

    def list_objects(self, prefix: str, after_key: str) -> tuple[list[ListedObject], bool]:
        """Return a page of up to 1,000 objects with a prefix, and whether there are more.

        The objects are sorted by key, and start after `after_key`, which may be any text.
        """

    def keeps_versions(self) -> bool:
        """Return whether the bucket keeps the versions of deleted objects."""

    def read_history(self, key: str) -> ObjectHistory:
        """Return the delete markers of an object, and whether a version of it is left."""

    def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Do nothing if it does not exist."""
