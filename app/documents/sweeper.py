"""The sweeper: removes from the store what requests and crashes have left behind."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.core.db import Session
from app.core.storage import MultipartUpload, ObjectNotFound, Storage
from app.documents.lifecycle import FileLifecycle
from app.settings import Settings

# Further unknown objects are only counted, so that the log and the memory stay small.
MAX_LOGGED_KEYS: Final = 100
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """Result of one run of the sweeper, which removes unused files from the object store.

    Args:
        expired_uploads: The number of uploads that made no progress for a grace period.
        aborted_multipart_uploads: The number of multipart uploads in the store that no request
            would have completed.
        removed_objects: The number of objects that were removed, because no document refers to
            them.
        unknown_objects: The number of objects in the store that have no row in the database.
    """

    expired_uploads: int
    aborted_multipart_uploads: int
    removed_objects: int
    unknown_objects: int

    def __str__(self) -> str:
        """Return the result as a line of the worker's log.

        For example "1 expired uploads, 0 aborted multipart uploads, 3 removed objects, 0 unknown
        objects".
        """
        return (
            f"{self.expired_uploads} expired uploads"
            f", {self.aborted_multipart_uploads} aborted multipart uploads"
            f", {self.removed_objects} removed objects"
            f", {self.unknown_objects} unknown objects"
        )


class Sweeper:
    """Scheduled job that removes expired uploads and unused files from the object store.

    An upload expires if it makes no progress for a grace period. Several sweepers may run at the
    same time, because it does no harm to remove something twice.
    """

    def __init__(self, autocommit_session: Session, storage: Storage, settings: Settings) -> None:
        """Create a sweeper. Its session has to commit each statement immediately."""
        self._file_lifecycle = FileLifecycle(autocommit_session, storage, settings)
        self._stored_objects = self._file_lifecycle.stored_objects
        self._storage = storage
        self._key_prefix = settings.s3_prefix
        self._grace_period = timedelta(seconds=settings.upload_grace_period)

    async def sweep(self) -> SweepResult:
        """Run once: remove expired uploads, unused files and abandoned multipart uploads.

        An object without a row in the database may belong to another service. It is not removed,
        but counted in the result. The log has the keys of the first ones.
        """
        expired_uploads = await self._stored_objects.mark_expired_for_deletion(self._grace_period)
        return SweepResult(
            expired_uploads=expired_uploads,
            aborted_multipart_uploads=await self._abort_abandoned_uploads(),
            removed_objects=await self._file_lifecycle.remove_marked_objects(),
            unknown_objects=await self._count_unknown_objects(),
        )

    async def _abort_abandoned_uploads(self) -> int:
        """Abort the multipart uploads in the store that no request will complete.

        Returns the number of aborted multipart uploads.
        """
        aborted_uploads = 0
        async for listed_uploads in self._storage.list_multipart_uploads(self._key_prefix):
            keys = [upload.key for upload in listed_uploads]
            states_by_key = await self._stored_objects.get_states_by_key(keys)
            for upload in listed_uploads:
                if self._is_abandoned(upload, states_by_key.get(upload.key)):
                    await self._storage.abort_multipart_upload(upload.key, upload.id)
                    aborted_uploads += 1
        return aborted_uploads

    def _is_abandoned(self, upload: MultipartUpload, object_state: str | None) -> bool:
        """Return whether a multipart upload will never be completed by a request.

        `object_state` is the state of the stored object that the upload would create. It is None if
        the object has no row in the database.
        """
        if object_state == "deleting":
            return True
        if object_state == "pending":
            return False
        # The object is `ready` or has no row, so this service will not complete the upload. For
        # example, a retried call has started a second upload of the same file. Wait for a grace
        # period, in case the upload belongs to another service that uses the same key prefix.
        return upload.started_at < datetime.now(UTC) - self._grace_period

    async def _count_unknown_objects(self) -> int:
        """Count the objects in the store that have no row in the database.

        Logs the keys of the first `MAX_LOGGED_KEYS`.
        """
        unknown_objects = 0
        async for listed_keys in self._storage.list_keys(self._key_prefix):
            states_by_key = await self._stored_objects.get_states_by_key(listed_keys)
            for key in listed_keys:
                has_row = key in states_by_key
                # Another process may have removed both the object and its row after the object was
                # listed. Such an object is not unknown.
                if has_row or not await self._object_exists(key):
                    continue
                unknown_objects += 1
                if unknown_objects <= MAX_LOGGED_KEYS:
                    log.warning("object %s is in the store but has no row in the database", key)
        return unknown_objects

    async def _object_exists(self, key: str) -> bool:
        """Return whether the store has an object with this key."""
        try:
            await self._storage.get_size(key)
        except ObjectNotFound:
            return False
        return True
