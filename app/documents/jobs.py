"""The sweeper: it finishes what requests, crashes and time-outs have left in the store."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.core.db import Session
from app.core.storage import NotStored, Storage
from app.documents.lifecycle import FileLifecycle
from app.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Swept:
    """What a run did: numbers of objects and multipart uploads, and the keys nobody knows."""

    expired: int
    aborted: int
    removed: int
    unknown: list[str]

    def __str__(self) -> str:
        counts = f"{self.expired} expired, {self.aborted} aborted, {self.removed} removed"
        return f"{counts}, {len(self.unknown)} unknown"


class Sweeper:
    """Any number may run at once: each step can be repeated, and none waits for another."""

    def __init__(self, session: Session, storage: Storage, settings: Settings) -> None:
        self._files = FileLifecycle(session, storage, settings)
        self._storage, self._prefix = storage, settings.s3_prefix
        self._grace = timedelta(seconds=settings.upload_grace_period)

    async def sweep(self) -> Swept:
        swept = Swept(
            expired=await self._files.objects.expire(self._grace),
            aborted=await self._abort_orphans(),
            removed=await self._files.remove_deleting(),
            unknown=await self._unknown(),
        )
        for key in swept.unknown:
            log.warning("no row knows the object %s", key)
        return swept

    async def _abort_orphans(self) -> int:
        """Abort the multipart uploads that nobody goes on with."""
        uploads = await self._storage.list_multipart_uploads(self._prefix)
        states = await self._files.objects.states([key for key, *_ in uploads])
        latest = datetime.now(UTC) - self._grace
        orphans = [
            (key, upload_id)
            for key, upload_id, started in uploads
            if (state := states.get(key)) == "deleting" or (state != "pending" and started < latest)
        ]
        for key, upload_id in orphans:
            await self._storage.abort_multipart(key, upload_id)
        return len(orphans)

    async def _unknown(self) -> list[str]:
        """Keys under the prefix of which there is no record; they are left where they are."""
        unknown: list[str] = []
        async for keys in self._storage.list_keys(self._prefix):
            known = await self._files.objects.states(keys)
            unknown += [key for key in keys if key not in known and await self._exists(key)]
        return unknown

    async def _exists(self, key: str) -> bool:
        """Whether it is there still: it may have been removed since the store listed it."""
        try:
            await self._storage.size(key)
        except NotStored:
            return False
        return True
