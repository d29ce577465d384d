"""The SQL of documents and of the stored objects that are their files."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.core.db import (
    Repository,
    Rows,
    RowsToChange,
    Select,
    Session,
    Statements,
    contains_words,
    equals,
    update_in_batches,
)
from app.core.errors import InvalidToken
from app.documents.errors import UploadExpired
from app.documents.models import NO_SIZE, Document, StoredObject
from app.documents.schemas import DocumentRead

# The number of rows that `list_objects_to_remove` returns at a time.
REMOVAL_PAGE_SIZE: Final = 1000

_object_columns = StoredObject.__table__.c


class DocumentStatements(Statements):
    """Builds the statements that read documents together with the keys of their files.

    SELECT documents.*, stored_objects.key
    FROM documents LEFT JOIN stored_objects ON stored_objects.id = documents.file_id
    """

    # Fields of `DocumentRead` that are not columns of documents. `add_other_fields` selects the
    # key, and `DocumentService` sets the URL and its expiry.
    other_fields = frozenset({"key", "file_url", "file_url_expires_at"})

    def add_other_fields(self, query: Select, source: sa.FromClause) -> Select:
        """Also select the key of each document's file. It is NULL for a document without a file.

        `source` is the table of documents or a subquery of it.
        """
        is_file_of_document = _object_columns.id == source.c.file_id
        return query.add_columns(_object_columns.key).outerjoin(StoredObject, is_file_of_document)


class DocumentRepository(Repository[DocumentRead]):
    """Reads and writes documents, and the direct uploads that belong to documents.

    Its documents do not have a `file_url` yet. `DocumentService` signs the URLs.
    """

    model = DocumentRead
    noun = "Document"
    statements = DocumentStatements(
        Document,
        DocumentRead,
        filters={
            "q": contains_words(Document.name),
            "content_type": equals(Document.content_type),
            "owner": equals(Document.owner_id, "owner"),
        },
        sort_nulls_as={"size": NO_SIZE},
        leading_index_columns={"owner": Document.__table__.c.owner_id},
    )
    constraint_errors = {
        "fk_documents_file_id_stored_objects": UploadExpired,
        # The owner was deleted during the request, so the token of the request is invalid too.
        "fk_documents_owner_id_users": InvalidToken,
    }

    def to_model(self, values: dict[str, Any]) -> DocumentRead:
        """Create a document from the values of a row. It does not have a `file_url` yet."""
        fields_without_url = {**values, "file_url": None, "file_url_expires_at": None}
        return self.model.model_validate(fields_without_url)


class StoredObjectRepository:
    """Reads and writes the rows of stored objects, which record the state of each file.

    The states are `pending`, `ready` and `deleting`.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def create(self, object_id: UUID, values: Mapping[str, Any]) -> None:
        """Insert the row of a new object, from values by column name. Its state is `pending`."""
        statement = sa.insert(StoredObject)
        await self.session.execute(statement, {"id": object_id, **values})

    async def record_progress(self, object_id: UUID) -> bool:
        """Set `touched_at` of a `pending` object to now, so that its upload does not expire.

        Returns False if the object is not `pending` any more.
        """
        return await self._update_pending_object(object_id, {"touched_at": sa.func.now()})

    async def mark_for_deletion(self, object_id: UUID) -> None:
        """Change the state of a `pending` object to `deleting`, so that the sweeper removes it.

        Does nothing if the object is not `pending` any more.
        """
        await self._update_pending_object(object_id, {"state": "deleting"})

    async def mark_expired_for_deletion(self, grace_period: timedelta) -> int:
        """Change the state of all expired `pending` objects to `deleting`. Return their number.

        An object has expired if its upload has not recorded progress for a whole grace period.
        """
        is_expired = StoredObject.touched_at < sa.func.now() - grace_period
        expired_objects = RowsToChange(
            StoredObject,
            sa.and_(StoredObject.state == "pending", is_expired),
            order_by=StoredObject.touched_at,
        )
        return await update_in_batches(self.session, expired_objects, {"state": "deleting"})

    async def list_objects_to_remove(self, after_id: UUID, document_id: UUID | None) -> Rows:
        """Return the ids and the keys of objects in the state `deleting`, one page at a time.

        The page is sorted by id, starts after the object `after_id`, and has at most
        `REMOVAL_PAGE_SIZE` rows. With `document_id`, it has only the objects of this document.
        """
        statement = sa.select(StoredObject.id, StoredObject.key).where(
            StoredObject.state == "deleting", StoredObject.id > after_id
        )
        if document_id is not None:
            statement = statement.where(StoredObject.document_id == document_id)
        statement = statement.order_by(StoredObject.id).limit(REMOVAL_PAGE_SIZE)
        return await self.session.execute(statement)

    async def delete_record(self, object_id: UUID) -> None:
        """Delete the row of a `deleting` object that was removed from the store."""
        statement = sa.delete(StoredObject).where(
            StoredObject.id == object_id, StoredObject.state == "deleting"
        )
        await self.session.execute(statement)

    async def get_states_by_key(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the states of stored objects by key, for example `{"documents/0199": "ready"}`.

        A key without a row in the table is left out.
        """
        statement = sa.select(StoredObject.key, StoredObject.state).where(
            StoredObject.key.in_(keys)
        )
        rows = await self.session.execute(statement)
        return {row["key"]: row["state"] for row in rows}

    async def _update_pending_object(self, object_id: UUID, values: Mapping[str, Any]) -> bool:
        """Set columns of an object if it is `pending`. Return whether it was.

        `values` are the new values by column name.
        """
        statement = (
            sa.update(StoredObject)
            .where(StoredObject.id == object_id, StoredObject.state == "pending")
            .values(**values)
            .returning(StoredObject.id)
        )
        updated_rows = await self.session.execute(statement)
        return len(updated_rows) > 0
