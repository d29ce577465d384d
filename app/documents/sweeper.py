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
    """The result of a run of the sweeper."""

    # Numbers of objects, of multipart uploads, and of objects.
    expired: int
    aborted: int
    removed: int
    # Keys in the store without a row.
    unknown: list[str]

    def __str__(self) -> str:
        counts = f"{self.expired} expired, {self.aborted} aborted, {self.removed} removed"
        return f"{counts}, {len(self.unknown)} unknown"


class Sweeper:
    """Removes expired uploads, unused files, and abandoned multipart uploads.

    Several sweepers may run at the same time, because each step can be repeated.
    """

    def __init__(self, session: Session, storage: Storage, settings: Settings) -> None:
        self._files = FileLifecycle(session, storage, settings)
        self._storage = storage
        self._prefix = settings.s3_prefix
        self._grace_period = timedelta(seconds=settings.upload_grace_period)

    async def sweep(self) -> SweepResult:
        """Run once. Objects without a row are only reported, in the result and in the log."""
        result = SweepResult(
            expired=await self._files.objects.expire(self._grace_period),
            aborted=await self._abort_abandoned_uploads(),
            removed=await self._files.remove_deleting(),
            unknown=await self._find_unknown_keys(),
        )
        for key in result.unknown:
            log.warning("no row knows the object %s", key)
        return result

    async def _abort_abandoned_uploads(self) -> int:
        uploads = await self._storage.list_multipart_uploads(self._prefix)
        states = await self._files.objects.states([upload.key for upload in uploads])
        abandoned = [
            upload for upload in uploads if self._is_abandoned(upload, states.get(upload.key))
        ]
        for upload in abandoned:
            await self._storage.abort_multipart_upload(upload.key, upload.id)
        return len(abandoned)

    def _is_abandoned(self, upload: MultipartUpload, state: str | None) -> bool:
        """Return whether a multipart upload is abandoned. `state` is None without a row."""
        if state == "deleting":
            return True
        if state == "pending":
            return False
        # No row belongs to this upload. For example, it is a second one, started by a retry of the
        # call. Wait for a grace period, in case that another service uses the same prefix.
        return upload.started_at < datetime.now(UTC) - self._grace_period

    async def _find_unknown_keys(self) -> list[str]:
        """Return the keys of objects that have no row. They may belong to somebody else."""
        unknown: list[str] = []
        async for keys in self._storage.list_keys(self._prefix):
            states = await self._files.objects.states(keys)
            unknown += [key for key in keys if key not in states and await self._exists(key)]
        return unknown

    async def _exists(self, key: str) -> bool:
        """Return whether an object still exists. It may have been removed since it was listed."""
        try:
            await self._storage.get_size(key)
        except ObjectNotFound:
            return False
        return True
