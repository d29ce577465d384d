"""Asynchronous access to a bucket that may keep versions of objects."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from app.core.storage._object_store import ObjectStore
from app.core.storage._versioned_store import ListedObject, ObjectHistory

ResultT = TypeVar("ResultT")


class VersionedStorage(ABC):
    """The part of `Storage` with which an operator finds lost objects and restores them."""

    @abstractmethod
    async def _call(self, operation: Callable[[ObjectStore], ResultT]) -> ResultT:
        """Run an operation that sends requests to the store in a thread. Return its result."""

    async def list_objects(self, prefix: str, after_key: str) -> tuple[list[ListedObject], bool]:
        """Return a page of up to 1,000 objects with a prefix, and whether there are more.

        The objects are sorted by key, and start after `after_key`, which may be any text.
        """
        return await self._call(lambda store: store.list_objects(prefix, after_key))

    async def keeps_versions(self) -> bool:
        """Return whether the bucket keeps the versions of deleted objects."""
        return await self._call(lambda store: store.keeps_versions())

    async def read_history(self, key: str) -> ObjectHistory:
        """Return the delete markers of an object, and whether a version of it is left."""
        return await self._call(lambda store: store.read_history(key))

    async def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Do nothing if it does not exist."""
        await self._call(lambda store: store.remove_delete_marker(key, marker_id))
