"""The SQL of documents and of the objects that are their files."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Condition, Repository, Row, Rows, Select, Session, Statements, equals
from app.core.errors import InvalidToken
from app.documents.errors import UploadExpired
from app.documents.models import NO_SIZE, Document, StoredObject
from app.documents.schemas import DocumentRead

_object, _document = StoredObject.__table__.c, Document.__table__.c


class DocumentStatements(Statements):
    """Documents are read with the key of their file."""

    # The service signs the URL.
    other_fields = frozenset({"key", "file_url", "file_url_expires_at"})

    def add_other_fields(self, query: Select, rows: sa.FromClause) -> Select:
        return query.add_columns(_object.key).outerjoin(StoredObject, _object.id == rows.c.file_id)


class DocumentRepository(Repository[DocumentRead]):
    """Reads and writes documents; the URLs of their files are for the service to sign."""

    model, noun = DocumentRead, "Document"
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
        "fk_documents_owner_id_users": InvalidToken,  # deleted meanwhile, and the token with him
    }

    def to_model(self, values: dict[str, Any]) -> DocumentRead:
        unsigned = {"file_url": None, "file_url_expires_at": None}
        return self.model.model_validate(values | unsigned)

    async def start_upload(self, document_id: UUID, key: UUID, upload_id: str) -> None:
        """Note the store's own id of a direct upload for a document that is still there."""
        started = sa.update(StoredObject).where(*self._upload(key), _object.state == "pending")
        started = started.values(upload_id=upload_id).returning(_object.id)
        if not await self.session.execute(started, {"row_id": document_id, **self.scope}):
            raise self._not_found()

    async def upload(self, document_id: UUID, key: UUID) -> Row | None:
        """Return a direct upload for a document, whatever its state."""
        query = sa.select(StoredObject.__table__)
        query = query.where(*self._upload(key), _object.upload_id.is_not(None))
        rows = await self.session.execute(query, {"row_id": document_id, **self.scope})
        return rows[0] if rows else None

    def _upload(self, key: UUID) -> tuple[Condition, Condition]:
        document = self.statements.exists(self._scope_filters).where(
            _document.id == _object.document_id
        )
        return _object.id == key, document.exists()


class StoredObjectRepository:
    """The lifecycle of stored objects, one statement a step."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def create(self, key: UUID, values: Mapping[str, Any]) -> None:
        """A new object, pending."""
        await self.session.execute(
            sa.insert(StoredObject).returning(_object.id), {"id": key, **values}
        )

    async def record_progress(self, key: UUID) -> bool:
        """Note that a pending object makes progress; whether it is still pending."""
        return bool(await self._change(_object.id == key, touched_at=sa.func.now()))

    async def mark_deleting(self, key: UUID) -> bool:
        """Take a pending object out of use; false when it is pending no more."""
        return bool(await self._change(_object.id == key, state="deleting"))

    async def expire(self, age: timedelta) -> int:
        """Take out of use what has been pending without progress for so long; how many."""
        stale = _object.touched_at < sa.func.now() - age
        return len(await self._change(stale, state="deleting"))

    async def _change(self, which: Condition, **values: Any) -> Rows:
        change = sa.update(StoredObject).where(_object.state == "pending", which).values(**values)
        return await self.session.execute(change.returning(_object.id))

    async def list_deleting(self, after: UUID, document_id: UUID | None) -> Rows:
        """Return the next 1,000 ids and keys of objects to delete, of one document or of all."""
        query = sa.select(_object.id, _object.key).where(_object.state == "deleting")
        if document_id is not None:
            query = query.where(_object.document_id == document_id)
        query = query.where(_object.id > after).order_by(_object.id).limit(1000)
        return await self.session.execute(query)

    async def delete_record(self, key: UUID) -> None:
        """Remove the record of what is gone from the store."""
        gone = sa.delete(StoredObject).where(_object.id == key, _object.state == "deleting")
        await self.session.execute(gone.returning(_object.id))

    async def states(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the state of each known key."""
        query = sa.select(_object.key, _object.state).where(_object.key.in_(keys))
        return {row["key"]: row["state"] for row in await self.session.execute(query)}
