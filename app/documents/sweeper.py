"""The sweeper: removes from the store what requests and crashes have left behind."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.core.db import Session
from app.core.errors import ServiceError, Unavailable
from app.core.jobs import is_being_cancelled
from app.core.storage import MultipartUpload, Storage
from app.documents.lifecycle import FileLifecycle
from app.settings import Settings

log = logging.getLogger(__name__)


@dataclass
class SweepResult:
    """Result of one run of the sweeper, which removes unused files from the object store.

    Args:
        expired_uploads: The number of uploads that made no progress for a grace period.
        aborted_multipart_uploads: The number of multipart uploads that were found in the store and
            aborted, because no request would have completed them.
        removed_objects: The number of objects that were removed, because no document refers to
            them. Their multipart uploads were aborted as well.
        failed_steps: The steps that failed, for example "remove unused files".
    """

    expired_uploads: int = 0
    aborted_multipart_uploads: int = 0
    removed_objects: int = 0
    failed_steps: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the result as a line of the worker's log.

        For example "1 expired uploads, 0 aborted multipart uploads, 3 removed objects". If a step
        has failed, "; could not remove unused files" follows.
        """
        text = (
            f"{self.expired_uploads} expired uploads"
            f", {self.aborted_multipart_uploads} aborted multipart uploads"
            f", {self.removed_objects} removed objects"
        )
        for step in self.failed_steps:
            text += f"; could not {step}"
        return text


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

        A step that fails is logged, and the other steps run nevertheless.
        """
        result = SweepResult()
        await self._try_step("mark expired uploads", self._mark_expired_uploads, result)
        await self._try_step(
            "abort the multipart uploads that the store lists", self._abort_listed_uploads, result
        )
        await self._try_step("remove unused files", self._remove_unused_files, result)
        return result

    async def _try_step(
        self, name: str, step: Callable[[SweepResult], Awaitable[None]], result: SweepResult
    ) -> None:
        """Run a step, which adds to the result. If it raises an error, log it, and add its name."""
        try:
            await step(result)
        except Exception as error:
            # The database driver may raise another error when a task is cancelled.
            if is_being_cancelled():
                raise
            # The traceback of an expected error would not help.
            log_traceback = not isinstance(error, ServiceError)
            log.warning("the sweeper could not %s: %s", name, error, exc_info=log_traceback)
            result.failed_steps.append(name)

    async def _mark_expired_uploads(self, result: SweepResult) -> None:
        """Mark the objects of expired uploads for deletion, so that a later step removes them."""
        result.expired_uploads = await self._stored_objects.mark_expired_for_deletion(
            self._grace_period
        )

    async def _abort_listed_uploads(self, result: SweepResult) -> None:
        """Abort the multipart uploads in the store that no request will complete.

        The row of an object has the id that the last attempt to start an upload has returned, and
        `_remove_unused_files` aborts that one. If the response to an earlier attempt was lost, only
        the list of the store has its id.

        Raises `Unavailable` in the end if the store failed to abort some of them.
        """
        failed_uploads = 0
        async for listed_uploads in self._storage.list_multipart_uploads(self._key_prefix):
            keys = [upload.key for upload in listed_uploads]
            states_by_key = await self._stored_objects.get_states_by_key(keys)
            for upload in listed_uploads:
                if not self._is_abandoned(upload, states_by_key.get(upload.key)):
                    continue
                if await self._file_lifecycle.abort_multipart_upload(upload.key, upload.id):
                    result.aborted_multipart_uploads += 1
                else:
                    failed_uploads += 1
        if failed_uploads > 0:
            raise Unavailable(f"{failed_uploads} multipart uploads remain")

    def _is_abandoned(self, upload: MultipartUpload, object_state: str | None) -> bool:
        """Return whether a multipart upload will never be completed by a request.

        `object_state` is the state of the stored object that the upload would create. It is None if
        the object has no row in the database.
        """
        if object_state == "deleting":
            return True
        if object_state == "pending" or upload.started_at is None:
            return False
        # The object is `ready` or has no row, so this service will not complete the upload. For
        # example, a retried call has started a second upload of the same file. Another service must
        # not use the same key prefix, but wait for a grace period in case one does.
        return upload.started_at < datetime.now(UTC) - self._grace_period

    async def _remove_unused_files(self, result: SweepResult) -> None:
        """Remove the objects to which no document refers, and their multipart uploads.

        Raises `Unavailable` in the end if the store failed to remove some of them.
        """
        removal = await self._file_lifecycle.remove_marked_objects()
        result.removed_objects = removal.removed_objects
        if removal.failed_objects > 0:
            raise Unavailable(f"{removal.failed_objects} objects remain")
