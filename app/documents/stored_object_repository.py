"""The SQL of stored objects: the state of each file in the object store."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Row, Rows, RowsToChange, Session, mark_reusable, update_in_batches
from app.documents.models import Document, DocumentUsage, StoredObject
from app.documents.quotas import DocumentQuotas, FileTarget, quota_settings

# The number of rows that `list_objects_to_remove` returns at a time.
REMOVAL_PAGE_SIZE: Final = 1000


def _select_owner_of_document(
    document_id: UUID | sa.BindParameter[UUID],
) -> sa.ScalarSelect[int | None]:
    """Return the SQL expression for the owner of a document."""
    return sa.select(Document.owner_id).where(Document.id == document_id).scalar_subquery()


def _build_insert(owner_id: sa.ColumnElement[int | None]) -> sa.Insert:
    """Build the statement that inserts a `pending` object, and returns what an owner has.

    `owner_id` is the SQL expression for the owner. An owner who has never had a document may not
    have a row in `document_usage`.
    """
    is_owner = DocumentUsage.owner_id == owner_id
    documents = sa.select(DocumentUsage.documents).where(is_owner).scalar_subquery()
    used_bytes = sa.select(DocumentUsage.bytes).where(is_owner).scalar_subquery()
    statement = (
        sa.insert(StoredObject)
        .values(id=sa.bindparam("object_id"), key=sa.bindparam("object_key"))
        .returning(
            owner_id.label("owner_id"),
            sa.func.coalesce(documents, 0).label("documents"),
            sa.func.coalesce(used_bytes, 0).label("bytes"),
        )
    )
    return mark_reusable(statement)


# Built once, because every upload executes one of them.
_insert_for_new_document = _build_insert(sa.bindparam("owner", type_=sa.BigInteger))
_insert_for_existing_document = _build_insert(
    _select_owner_of_document(sa.bindparam("document", type_=sa.Uuid))
)


class StoredObjectRepository:
    """Reads and writes the rows of stored objects, which record the state of each file.

    The states are `pending`, `ready` and `deleting`.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def create(self, object_id: UUID, key: str, target: FileTarget) -> Row | None:
        """Insert the row of a new `pending` object. Return what the owner of its document has.

        The returned row has the columns `documents` and `bytes`. Returns None for a document
        without an owner. For example, the statement for a new document of the owner 7 is:

            INSERT INTO stored_objects (id, key) VALUES (...)
            RETURNING 7 AS owner_id,
                coalesce((SELECT documents FROM document_usage WHERE owner_id = 7), 0) AS documents,
                coalesce((SELECT bytes FROM document_usage WHERE owner_id = 7), 0) AS bytes
        """
        parameters: dict[str, Any] = {"object_id": object_id, "object_key": key}
        if target.document_id is None:
            statement = _insert_for_new_document
            parameters["owner"] = target.owner_id
        else:
            statement = _insert_for_existing_document
            parameters["document"] = target.document_id
        [usage] = await self.session.execute(statement, parameters)
        if usage["owner_id"] is None:
            return None
        return usage

    async def create_direct_upload(
        self, document_id: UUID, values: Mapping[str, Any], quotas: DocumentQuotas
    ) -> None:
        """Insert the row of a direct upload for a document, from values by column name.

        Raises `TooManyUploads` or `StorageQuotaExceeded` if it exceeds a quota of the owner.
        """
        owner_id = _select_owner_of_document(document_id)
        statement = (
            sa.insert(StoredObject)
            .values(document_id=document_id, owner_id=owner_id, **values)
            .returning(*quota_settings())
        )
        with quotas.explain_violations():
            await self.session.execute(statement, quotas.to_parameters())

    async def delete_unused_record(self, object_id: UUID) -> None:
        """Delete the row of a `pending` object of which nothing was sent to the store."""
        statement = sa.delete(StoredObject).where(
            StoredObject.id == object_id, StoredObject.state == "pending"
        )
        await self.session.execute(statement)

    async def record_progress(self, object_id: UUID, upload_id: str | None) -> bool:
        """Set `touched_at` of a `pending` object to now, so that its upload does not expire.

        Also sets the id of its multipart upload in the store, which is None for a small file.
        Returns False if the object is not `pending` any more.
        """
        values = {"touched_at": sa.func.now(), "upload_id": upload_id}
        return await self._update_pending_object(object_id, values)

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
        """Return the objects in the state `deleting`, one page at a time.

        The rows have the columns `id`, `key` and `upload_id`. The page is sorted by id, starts
        after the object `after_id`, and has at most `REMOVAL_PAGE_SIZE` rows. With `document_id`,
        it has only the objects of this document.
        """
        # The state is not a parameter, so that Postgres can use the indexes of `deleting` objects.
        is_deleting = StoredObject.state == sa.literal_column("'deleting'", sa.String)
        statement = sa.select(StoredObject.id, StoredObject.key, StoredObject.upload_id).where(
            is_deleting, StoredObject.id > after_id
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
