"""The SQL of direct uploads: rows of `stored_objects` that belong to a document in the scope."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Condition, Row, Rows, Session, require_replication
from app.documents.models import Document, StoredObject
from app.documents.repository import DocumentRepository

_is_pending = sa.and_(
    StoredObject.state == "pending",
    sa.or_(StoredObject.expires_at.is_(None), StoredObject.expires_at > sa.func.now()),
)
# An upload that was started in the store. A large file that the service itself stores also has the
# id of a multipart upload, but only the row of its document has its size.
_is_started_direct_upload = sa.and_(
    StoredObject.size.is_not(None), StoredObject.upload_id.is_not(None)
)
_is_unclaimed = sa.or_(
    StoredObject.completing_until.is_(None), StoredObject.completing_until < sa.func.now()
)


class DirectUploadRepository:
    """Reads and changes direct uploads, if their documents are in the scope of the principal.

    Each method executes one statement. An upload that has expired is not pending any more.
    """

    def __init__(self, session: Session, scope: Mapping[str, Any]) -> None:
        """Create a repository for the documents of a scope, such as `{"owner": 7}`."""
        self.session = session
        self.scope = scope

    async def set_upload_id(self, document_id: UUID, object_id: UUID, upload_id: str) -> bool:
        """Record the id of the multipart upload in the store that belongs to a direct upload.

        Returns False if the document no longer exists or the direct upload has expired.
        """
        statement = sa.update(StoredObject).values(upload_id=upload_id)
        rows = await self._execute(statement.where(_is_pending), document_id, object_id)
        return len(rows) > 0

    async def find(self, document_id: UUID, object_id: UUID) -> Row | None:
        """Find a direct upload in any state. Return None if it does not exist.

        The row has the additional column `is_pending`. It is on the synchronous standby, because it
        may confirm that an earlier request has completed the upload.
        """
        statement = sa.select(StoredObject.__table__, _is_pending.label("is_pending")).where(
            StoredObject.id == object_id, _is_started_direct_upload, self._document_is_accessible()
        )
        rows = await self.session.execute(
            require_replication(statement), {"row_id": document_id, **self.scope}
        )
        return _first_row(rows)

    async def record_progress(
        self, document_id: UUID, object_id: UUID, lifetime: timedelta
    ) -> Row | None:
        """Set `touched_at` of a pending upload to now. Return the upload.

        Returns None if the upload does not exist or is not pending. An upload of an older release
        does not have a time at which it expires, so it is set to the end of the lifetime from now.
        """
        expires_at = sa.func.coalesce(StoredObject.expires_at, sa.func.now() + lifetime)
        statement = sa.update(StoredObject).values(touched_at=sa.func.now(), expires_at=expires_at)
        statement = statement.where(_is_pending, _is_started_direct_upload)
        return _first_row(await self._execute(statement, document_id, object_id))

    async def claim(self, document_id: UUID, object_id: UUID, duration: timedelta) -> Row | None:
        """Reserve the completion of a pending upload for one request. Return the upload.

        Returns None if the upload does not exist, is not pending, or is claimed by another request.
        The claim ends after the duration, so that a crash does not block the upload forever.
        """
        statement = sa.update(StoredObject).values(
            touched_at=sa.func.now(), completing_until=sa.func.now() + duration
        )
        statement = statement.where(_is_pending, _is_unclaimed, _is_started_direct_upload)
        return _first_row(await self._execute(statement, document_id, object_id))

    async def extend_claim(self, object_id: UUID, duration: timedelta) -> None:
        """Let the claim of a pending upload last for the duration from now."""
        statement = (
            sa.update(StoredObject)
            .where(StoredObject.id == object_id, StoredObject.state == "pending")
            .values(touched_at=sa.func.now(), completing_until=sa.func.now() + duration)
        )
        await self.session.execute(statement)

    async def release_claim(self, object_id: UUID) -> None:
        """End a claim, so that another request may complete the upload."""
        statement = sa.update(StoredObject).where(StoredObject.id == object_id)
        await self.session.execute(statement.values(completing_until=None))

    async def _execute(self, statement: sa.Update, document_id: UUID, object_id: UUID) -> Rows:
        """Execute an UPDATE for one upload of a document. Return the updated row, if any."""
        statement = statement.where(StoredObject.id == object_id, self._document_is_accessible())
        return await self.session.execute(
            statement.returning(StoredObject.__table__), {"row_id": document_id, **self.scope}
        )

    def _document_is_accessible(self) -> Condition:
        """Return the condition that a stored object belongs to the document `:row_id` in the scope.

        For example, if the scope of the repository is the documents of one owner:

            EXISTS (
                SELECT ... FROM documents
                WHERE documents.id = :row_id AND documents.owner_id = :owner
                    AND documents.id = stored_objects.document_id
            )
        """
        select_document = DocumentRepository.statements.exists(frozenset(self.scope))
        is_document_of_object = Document.id == StoredObject.document_id
        return select_document.where(is_document_of_object).exists()


def _first_row(rows: Rows) -> Row | None:
    """Return the only row of a result, or None if the result is empty."""
    if not rows:
        return None
    [row] = rows
    return row
