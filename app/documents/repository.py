"""The SQL of documents and of the stored objects that are their files."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Condition, Repository, Row, Rows, Select, Session, Statements, equals
from app.core.errors import InvalidToken
from app.documents.errors import UploadExpired
from app.documents.models import NO_SIZE, Document, StoredObject
from app.documents.schemas import DocumentRead

# The number of rows that `list_deleting` returns at a time.
DELETING_PAGE_SIZE: Final = 1000

_object = StoredObject.__table__.c
_document = Document.__table__.c


class DocumentStatements(Statements):
    """The statements of documents. Every read also returns the key of the file in the store."""

    # `DocumentService` sets the URL and its expiry. They are not columns.
    other_fields = frozenset({"key", "file_url", "file_url_expires_at"})

    def add_other_fields(self, query: Select, source: sa.FromClause) -> Select:
        """Join the stored object of each document, and select its key.

        The key is NULL for a document without a file.
        """
        is_file_of_document = _object.id == source.c.file_id
        return query.add_columns(_object.key).outerjoin(StoredObject, is_file_of_document)


class DocumentRepository(Repository[DocumentRead]):
    """Reads and writes documents, and the direct uploads that belong to documents.

    The documents that it returns have no `file_url`, because only a service can sign a URL.
    """

    model = DocumentRead
    noun = "Document"
    statements = DocumentStatements(
        Document,
        DocumentRead,
        filters={
            "content_type": equals(Document.content_type),
            "owner": equals(Document.owner_id, "owner"),
        },
        sort_nulls_as={"size": NO_SIZE},
        index_prefix={"owner": _document.owner_id},
    )
    constraint_errors = {
        "fk_documents_file_id_stored_objects": UploadExpired,
        # The user was deleted during the request, and their tokens with them.
        "fk_documents_owner_id_users": InvalidToken,
    }

    def to_model(self, values: dict[str, Any]) -> DocumentRead:
        """Convert a row to a document whose URL is not signed yet."""
        unsigned_url = {"file_url": None, "file_url_expires_at": None}
        return self.model.model_validate({**values, **unsigned_url})

    async def set_upload_id(self, document_id: UUID, object_id: UUID, upload_id: str) -> None:
        """Record the id that the object store has assigned to a direct upload.

        Raises `NotFound` if the document no longer exists or the upload has expired.
        """
        statement = (
            sa.update(StoredObject)
            .where(
                _object.id == object_id, _object.state == "pending", self._document_is_accessible()
            )
            .values(upload_id=upload_id)
            .returning(_object.id)
        )
        rows = await self.session.execute(statement, {"row_id": document_id, **self.scope})
        if not rows:
            raise self._not_found_error()

    async def find_direct_upload(self, document_id: UUID, object_id: UUID) -> Row | None:
        """Find a direct upload for a document, in any state.

        Returns its row in `stored_objects`, or None if the document has no such upload.
        """
        statement = sa.select(StoredObject.__table__).where(
            _object.id == object_id, _object.upload_id.is_not(None), self._document_is_accessible()
        )
        rows = await self.session.execute(statement, {"row_id": document_id, **self.scope})
        if not rows:
            return None
        return rows[0]

    def _document_is_accessible(self) -> Condition:
        """Return the condition that a stored object belongs to a document in the scope.

        Example, for a principal who may access only their own documents:

            EXISTS (
                SELECT ... FROM documents
                WHERE documents.id = :row_id AND documents.owner_id = :owner
                    AND documents.id = stored_objects.document_id
            )
        """
        document = self.statements.exists(self._scope_filter_names)
        return document.where(_document.id == _object.document_id).exists()


class StoredObjectRepository:
    """Reads and writes the rows of stored objects, which record the state of each file.

    The states are `pending`, `ready` and `deleting`. Each method executes one statement.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def create(self, object_id: UUID, columns: Mapping[str, Any]) -> None:
        """Insert the row of a new object, which is `pending`."""
        statement = sa.insert(StoredObject).returning(_object.id)
        await self.session.execute(statement, {"id": object_id, **columns})

    async def record_progress(self, object_id: UUID) -> bool:
        """Set the time of the last progress of a `pending` object to now.

        Returns False if the object is not `pending` any more.
        """
        is_object = _object.id == object_id
        rows = await self._update_pending(is_object, {"touched_at": sa.func.now()})
        return bool(rows)

    async def mark_deleting(self, object_id: UUID) -> bool:
        """Change a `pending` object to `deleting`.

        Returns False if the object is not `pending` any more.
        """
        is_object = _object.id == object_id
        rows = await self._update_pending(is_object, {"state": "deleting"})
        return bool(rows)

    async def mark_expired_deleting(self, grace_period: timedelta) -> int:
        """Change the `pending` objects without progress during a grace period to `deleting`.

        Returns the number of objects that have expired.
        """
        is_expired = _object.touched_at < sa.func.now() - grace_period
        rows = await self._update_pending(is_expired, {"state": "deleting"})
        return len(rows)

    async def list_deleting(self, after_id: UUID, document_id: UUID | None) -> Rows:
        """Return the ids and keys of `deleting` objects, of one document or of all documents.

        The rows are sorted by id and start after `after_id`. There are at most
        `DELETING_PAGE_SIZE` of them.
        """
        statement = sa.select(_object.id, _object.key).where(
            _object.state == "deleting", _object.id > after_id
        )
        if document_id is not None:
            statement = statement.where(_object.document_id == document_id)
        statement = statement.order_by(_object.id).limit(DELETING_PAGE_SIZE)
        return await self.session.execute(statement)

    async def delete_record(self, object_id: UUID) -> None:
        """Delete the row of a `deleting` object that was removed from the store."""
        statement = (
            sa.delete(StoredObject)
            .where(_object.id == object_id, _object.state == "deleting")
            .returning(_object.id)
        )
        await self.session.execute(statement)

    async def find_states(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the states of objects by their keys, for example `{"documents/0199": "ready"}`.

        The result does not contain a key that has no row.
        """
        statement = sa.select(_object.key, _object.state).where(_object.key.in_(keys))
        rows = await self.session.execute(statement)
        return {row["key"]: row["state"] for row in rows}

    async def _update_pending(self, condition: Condition, columns: Mapping[str, Any]) -> Rows:
        """Set columns of the `pending` objects that meet a condition. Return their ids."""
        statement = (
            sa.update(StoredObject)
            .where(_object.state == "pending", condition)
            .values(**columns)
            .returning(_object.id)
        )
        return await self.session.execute(statement)
