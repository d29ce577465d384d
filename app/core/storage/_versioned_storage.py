"""Asynchronous access to a bucket that may keep versions of objects."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from app.core.storage._object_store import ObjectStore
from app.core.storage._pages import iterate_pages
from app.core.storage._versioned_store import ListedObject, ObjectVersion, VersionMarker

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

    async def list_versions(self, key: str) -> list[ObjectVersion]:
        """Return all versions of an object, and the delete markers that hide them."""
        pages = iterate_pages(partial(self._list_versions_page, key))
        return [version async for page in pages for version in page]

    async def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Do nothing if it does not exist."""
        await self._call(lambda store: store.remove_delete_marker(key, marker_id))

    async def _list_versions_page(
        self, key: str, marker: VersionMarker | None
    ) -> tuple[list[ObjectVersion], VersionMarker | None]:
        """Return a page of versions, and the marker of the next page or None for the last page."""
        return await self._call(lambda store: store.list_versions(key, marker))
