"""The sweeper: removes from the store what requests and crashes have left behind."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.core.db import Session
from app.core.storage import MultipartUpload, ObjectNotFound, Storage
from app.documents.lifecycle import FileLifecycle
from app.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """The outcome of one run of the sweeper."""

    # The number of uploads that made no progress for a grace period.
    expired_uploads: int
    # The number of multipart uploads in the store that nothing refers to.
    aborted_multipart_uploads: int
    # The number of unused objects that were removed from the store.
    removed_objects: int
    # The keys of objects in the store that have no row in the database.
    unknown_keys: list[str]

    def __str__(self) -> str:
        """Return the outcome for the log of the worker.

        For example `1 expired uploads, 0 aborted multipart uploads, 3 removed objects, 0 unknown
        objects`.
        """
        return (
            f"{self.expired_uploads} expired uploads"
            f", {self.aborted_multipart_uploads} aborted multipart uploads"
            f", {self.removed_objects} removed objects"
            f", {len(self.unknown_keys)} unknown objects"
        )


class Sweeper:
    """Removes expired uploads, unused files, and abandoned multipart uploads.

    An upload expires when it makes no progress for a grace period.

    Several sweepers may run at the same time, because each step can be repeated.
    """

    def __init__(self, session: Session, storage: Storage, settings: Settings) -> None:
        self._lifecycle = FileLifecycle(session, storage, settings)
        self._stored_objects = self._lifecycle.stored_objects
        self._storage = storage
        self._key_prefix = settings.s3_prefix
        self._grace_period = timedelta(seconds=settings.upload_grace_period)

    async def sweep(self) -> SweepResult:
        """Sweep the store once.

        Objects without a row are only reported, in the result and in the log, because they may
        belong to another service.
        """
        result = SweepResult(
            expired_uploads=await self._stored_objects.mark_expired_deleting(self._grace_period),
            aborted_multipart_uploads=await self._abort_abandoned_uploads(),
            removed_objects=await self._lifecycle.remove_deleting_objects(),
            unknown_keys=await self._find_unknown_keys(),
        )
        for key in result.unknown_keys:
            log.warning("object %s is in the store but has no row in the database", key)
        return result

    async def _abort_abandoned_uploads(self) -> int:
        """Abort the multipart uploads that no request will complete. Return their number."""
        uploads = await self._storage.list_multipart_uploads(self._key_prefix)
        states = await self._stored_objects.find_states([upload.key for upload in uploads])
        aborted = 0
        for upload in uploads:
            if self._is_abandoned(upload, states.get(upload.key)):
                await self._storage.abort_multipart_upload(upload.key, upload.id)
                aborted += 1
        return aborted

    def _is_abandoned(self, upload: MultipartUpload, object_state: str | None) -> bool:
        """Return whether no request will complete a multipart upload.

        `object_state` is the state of the object to which the upload belongs. It is None if the
        object has no row.
        """
        if object_state == "deleting":
            return True
        if object_state == "pending":
            return False
        # The upload does not belong to a file that is being sent. For example, a retry of a call
        # may have started a second upload. Wait for a grace period before aborting it, in case
        # another service uses the same prefix.
        return upload.started_at < datetime.now(UTC) - self._grace_period

    async def _find_unknown_keys(self) -> list[str]:
        """Return the keys of the objects in the store that have no row in the database."""
        unknown_keys: list[str] = []
        async for keys in self._storage.list_keys(self._key_prefix):
            states = await self._stored_objects.find_states(keys)
            for key in keys:
                if key in states:
                    continue
                if await self._is_still_stored(key):
                    unknown_keys.append(key)
        return unknown_keys

    async def _is_still_stored(self, key: str) -> bool:
        """Return whether an object exists. It may have been removed since it was listed."""
        try:
            await self._storage.get_size(key)
        except ObjectNotFound:
            return False
        return True
