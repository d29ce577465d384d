"""The lifecycle of stored objects: recorded before their first byte, forgotten after their last."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from app.core.errors import Unavailable
from app.core.sessions import Session
from app.core.storage import Storage
from app.documents.repository import StoredObjectRepository
from app.documents.upload import Upload
from app.settings import Settings

log = logging.getLogger(__name__)
TOUCHES: Final = 4  # in a grace period of an upload that makes progress


class Files:
    """What is in the store, and what the database knows of it."""

    def __init__(self, session: Session, storage: Storage, settings: Settings) -> None:
        self.objects = StoredObjectRepository(session)
        self.storage, self.settings = storage, settings

    async def record(self, **announced: Any) -> tuple[UUID, str]:
        """The id and the key of a new pending object. The key says nothing of its content."""
        object_id = uuid7()
        key = f"{self.settings.s3_prefix}{object_id}"
        await self.objects.record(object_id, {"key": key, **announced})
        return object_id, key

    def upload(self, key: str, touch: Callable[[], Awaitable[bool]]) -> Upload:
        return Upload(
            self.storage,
            key,
            limit=self.settings.max_upload_size,
            touch=touch,
            touch_every=self.settings.upload_grace_period / TOUCHES,
        )

    async def discard(self, object_id: UUID, key: str) -> None:
        """Remove an object that no document got; one that a document has stays."""
        await self.objects.condemn(object_id)
        # The sweeper may have had it before its last byte came: then no row knows it any more.
        if (await self.objects.states([key])).get(key) != "ready":
            await self._remove(object_id, key)

    async def remove_deleting(self, document_id: UUID | None = None) -> int:
        """Remove what shall go, of one document or of all; how many objects."""
        removed, last = 0, UUID(int=0)
        while rows := await self.objects.deleting(last, document_id):
            for row in rows:
                removed += await self._remove(row.id, row.key)
            last = rows[-1].id
        return removed

    async def _remove(self, object_id: UUID, key: str) -> bool:
        """One that the store does not let go stands in no other's way."""
        try:
            await self.storage.remove(key)
        except Unavailable:
            log.warning("%s is left to the sweeper", key)
            return False
        await self.objects.forget(object_id)
        return True
