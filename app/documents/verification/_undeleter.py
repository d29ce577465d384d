"""Undeletes files in a bucket that keeps the versions of deleted objects."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.core.db import Session
from app.core.errors import Unavailable
from app.core.storage import ObjectVersion, Storage
from app.documents.verification._files import DocumentFile, Reason
from app.documents.verification._repository import VerificationRepository


class FileUndeleter:
    """Removes the delete markers that were created since a given time.

    Only files to which a document refers are undeleted. Several processes may do so at the same
    time, and repeat it after a failure.
    """

    def __init__(
        self, autocommit_session: Session, storage: Storage, deleted_since: datetime
    ) -> None:
        """Create an undeleter. Delete markers that are older than `deleted_since` stay."""
        self._repository = VerificationRepository(autocommit_session)
        self._storage = storage
        # Stores record times in whole seconds, so a marker may seem older than it is.
        self._deleted_since = deleted_since.replace(microsecond=0)

    async def require_versions(self) -> None:
        """Raise `Unavailable` if the bucket does not keep versions of deleted objects."""
        if not await self._storage.keeps_versions():
            raise Unavailable("The bucket does not keep versions, so nothing can be undeleted")

    async def undelete(self, files: Sequence[DocumentFile]) -> dict[UUID, Reason]:
        """Undelete missing files. Return why each of the others cannot be undeleted, by file id."""
        versions_of_files = await asyncio.gather(
            *(self._storage.list_versions(file.key) for file in files)
        )
        # Read the rows only after the markers. If a document is deleted later, the store adds
        # another marker, which is not removed, so the file stays deleted.
        used_files = await self._repository.list_used_files(file.file_id for file in files)
        obstacles: dict[UUID, Reason] = {}
        removals = []
        for file, versions in zip(files, versions_of_files, strict=True):
            obstacle = self._find_obstacle(versions)
            if obstacle is not None:
                obstacles[file.file_id] = obstacle
            elif file.file_id in used_files:
                removals.append(self._remove_markers(file.key, versions))
        await asyncio.gather(*removals)
        return obstacles

    async def _remove_markers(self, key: str, versions: Sequence[ObjectVersion]) -> None:
        """Remove the delete markers of one object, so that its newest version is the object."""
        for version in versions:
            if version.is_delete_marker:
                await self._storage.remove_delete_marker(key, version.id)

    def _find_obstacle(self, versions: Sequence[ObjectVersion]) -> Reason | None:
        """Return why a file cannot be undeleted, or None.

        A file that was also deleted before `deleted_since` stays deleted, so none of its markers is
        removed.
        """
        delete_markers = [version for version in versions if version.is_delete_marker]
        if len(delete_markers) == len(versions):
            return "no-version"
        if any(marker.created_at < self._deleted_since for marker in delete_markers):
            return "deleted-earlier"
        return None
