"""The audit of the object store: finds objects in the store that have no row in the database."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from app.core.db import Session
from app.core.storage import ObjectNotFound, Storage
from app.documents.stored_object_repository import StoredObjectRepository
from app.documents.unknown_object_repository import UnknownObjectRepository
from app.settings import Settings

# Further new objects are only counted, so that the log stays small.
MAX_LOGGED_KEYS: Final = 100
log = logging.getLogger(__name__)


@dataclass
class AuditResult:
    """Result of one audit of the object store.

    Args:
        unknown_objects: The number of objects in the store that have no row in the database.
        new_objects: How many of them no previous audit has found.
    """

    unknown_objects: int = 0
    new_objects: int = 0

    def __str__(self) -> str:
        """Return the result as a line of the worker's log: "3 unknown objects, 1 of them new"."""
        return f"{self.unknown_objects} unknown objects, {self.new_objects} of them new"


class StorageAudit:
    """Scheduled job that lists the whole store, and counts the objects without a row.

    Such an object may belong to another service, so it is not removed. The table `unknown_objects`
    has their keys. An object is logged when it is added to the table, and not again.
    """

    def __init__(self, autocommit_session: Session, storage: Storage, settings: Settings) -> None:
        """Create an audit. Its session has to commit each statement immediately."""
        self._stored_objects = StoredObjectRepository(autocommit_session)
        self._unknown_objects = UnknownObjectRepository(autocommit_session)
        self._storage = storage
        self._key_prefix = settings.s3_prefix

    async def run(self) -> AuditResult:
        """List the store once, page by page, and update the table of unknown objects."""
        result = AuditResult()
        started_at = datetime.now(UTC)
        async for keys in self._storage.list_keys(self._key_prefix):
            await self._audit_keys(keys, started_at, result)
        # This is not reached if the audit fails halfway, because objects that it has not seen must
        # stay in the table.
        await self._unknown_objects.delete_others(started_at)
        if result.new_objects > MAX_LOGGED_KEYS:
            log.warning(
                "%d further objects are in the store but have no row in the database; the table"
                " unknown_objects has their keys",
                result.new_objects - MAX_LOGGED_KEYS,
            )
        return result

    async def _audit_keys(
        self, keys: Sequence[str], started_at: datetime, result: AuditResult
    ) -> None:
        """Find the unknown objects of one page of the list, and add them to the result."""
        states_by_key = await self._stored_objects.get_states_by_key(keys)
        keys_without_row = [key for key in keys if key not in states_by_key]
        if not keys_without_row:
            return
        known_keys = await self._unknown_objects.mark_audited(keys_without_row, started_at)
        new_keys = []
        for key in keys_without_row:
            # Another process may have removed both the object and its row after the object was
            # listed. Such an object is not unknown.
            if key in known_keys or not await self._object_exists(key):
                continue
            new_keys.append(key)
            if result.new_objects + len(new_keys) <= MAX_LOGGED_KEYS:
                log.warning("object %s is in the store but has no row in the database", key)
        if new_keys:
            await self._unknown_objects.create(new_keys, started_at)
        result.new_objects += len(new_keys)
        result.unknown_objects += len(known_keys) + len(new_keys)

    async def _object_exists(self, key: str) -> bool:
        """Return whether the store has an object with this key."""
        try:
            await self._storage.get_size(key)
        except ObjectNotFound:
            return False
        return True
