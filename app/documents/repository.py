"""The SQL of documents and of the objects that are their files."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.core.database import Rows, Session
from app.core.errors import Conflict
from app.core.repository import Repository
from app.core.statements import Select, Statements
from app.documents.models import NO_SIZE, Document, StoredObject
from app.documents.schemas import DocumentRead

_object, _content_type = StoredObject.__table__.c, Document.__table__.c.content_type
_of_type = _content_type == sa.bindparam("content_type", type_=_content_type.type)
_this = _object.id == sa.bindparam("row_id", type_=_object.id.type)
_pending = sa.and_(_this, _object.state == "pending")
_stale = _object.touched_at < sa.func.now() - sa.func.make_interval(
    0, 0, 0, 0, 0, 0, sa.bindparam("seconds", type_=sa.Float)
)
_of_document = _object.document_id == sa.bindparam("document_id", type_=_object.id.type)

_RECORD = sa.insert(StoredObject).returning(_object.id)
_CHANGE = sa.update(StoredObject).where(_pending).returning(_object.id)
_TOUCH = _CHANGE.values(touched_at=sa.func.now())
_START = _CHANGE.values(upload_id=sa.bindparam("started", type_=sa.Text))
_CONDEMN = _CHANGE.values(state="deleting")
_EXPIRE = (
    sa.update(StoredObject)
    .where(_object.state == "pending", _stale)
    .values(state="deleting")
    .returning(_object.id)
)
_DELETING = sa.select(_object.id, _object.key).where(_object.state == "deleting").limit(1000)
_REPLACED = _DELETING.where(_of_document)
_UPLOAD = sa.select(StoredObject.__table__).where(
    _this, _of_document, _object.upload_id.is_not(None)
)
_FORGET = sa.delete(StoredObject).where(_this, _object.state == "deleting").returning(_object.id)
_STATES = sa.select(_object.key, _object.state).where(
    _object.key == sa.any_(sa.bindparam("keys", type_=sa.ARRAY(sa.String)))
)


class DocumentStatements(Statements):
    """Documents are read with the key of their file."""

    def select_from(self, rows: sa.FromClause) -> Select:
        own = (rows.c[name] for name in DocumentRead.model_fields if name in rows.c)
        file = rows.outerjoin(StoredObject, _object.id == rows.c.file_id)
        return sa.select(*own, _object.key).select_from(file)


def _expired() -> Conflict:
    return Conflict("The upload made no progress for too long and was removed")


class DocumentRepository(Repository[DocumentRead]):
    """Reads and writes documents; the URLs of their files are for the service to sign."""

    model, noun = DocumentRead, "Document"
    statements = DocumentStatements(
        Document, DocumentRead, filters={"content_type": _of_type}, nulls={"size": NO_SIZE}
    )
    violations = {"fk_documents_file_id_stored_objects": _expired}

    def read(self, row: sa.Row[Any]) -> DocumentRead:
        unsigned = {"file_url": None, "file_url_expires_at": None}
        return self.model.model_validate(dict(zip(row._fields, row, strict=True)) | unsigned)


class StoredObjectRepository:
    """The lifecycle of stored objects, one statement a step."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def record(self, key: UUID, values: Mapping[str, Any]) -> None:
        """A new object, pending."""
        await self.session.rows(_RECORD, {"id": key, **values})

    async def touch(self, key: UUID) -> bool:
        """Note that a pending object makes progress; whether it is still pending."""
        return bool(await self.session.rows(_TOUCH, {"row_id": key}))

    async def start(self, key: UUID, upload_id: str) -> None:
        """Note the store's own id of a direct upload."""
        await self.session.rows(_START, {"row_id": key, "started": upload_id})

    async def condemn(self, key: UUID) -> bool:
        """Take a pending object out of use; false when it is pending no more."""
        return bool(await self.session.rows(_CONDEMN, {"row_id": key}))

    async def expire(self, seconds: float) -> int:
        """Take out of use what has been pending without progress for so long; how many."""
        return len(await self.session.rows(_EXPIRE, {"seconds": seconds}))

    async def deleting(self, document_id: UUID | None = None) -> Rows:
        """Up to 1,000 ids and keys of what shall go, of one document or of all."""
        statement = _DELETING if document_id is None else _REPLACED
        return await self.session.rows(statement, {"document_id": document_id})

    async def forget(self, key: UUID) -> None:
        """Remove the record of what is gone from the store."""
        await self.session.rows(_FORGET, {"row_id": key})

    async def states(self, keys: Sequence[str]) -> dict[str, str]:
        """The state of each of the keys that is known."""
        rows = await self.session.rows(_STATES, {"keys": list(keys)})
        return {row.key: row.state for row in rows}

    async def upload(self, document_id: UUID, key: UUID) -> sa.Row[Any] | None:
        """A direct upload for a document, whatever its state."""
        rows = await self.session.rows(_UPLOAD, {"row_id": key, "document_id": document_id})
        return rows[0] if rows else None
