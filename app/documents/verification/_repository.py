"""The SQL with which the files of all documents are verified."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Session
from app.documents.models import Document, StoredObject
from app.documents.verification._files import DocumentFile

# The number of files that `list_files` returns at a time: as many as the store lists objects.
FILE_PAGE_SIZE: Final = 1000


class VerificationRepository:
    """Reads the files of documents. It never writes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def count_files(self) -> int:
        """Return the number of documents that have a file.

        It is the number of files that `list_files` returns on all pages, because a foreign key
        guarantees that each of them has a row in `stored_objects`.
        """
        statement = sa.select(sa.func.count().label("files")).where(Document.file_id.is_not(None))
        [row] = await self._session.execute(statement)
        number_of_files: int = row["files"]
        return number_of_files

    async def list_files(self, after_file_id: UUID) -> list[DocumentFile]:
        """Return the files of documents, one page at a time.

        The page is sorted by the id of the file, starts after `after_file_id`, and has at most
        `FILE_PAGE_SIZE` files:

            SELECT documents.id AS document_id, name AS document_name, file_id, key, ...
            FROM documents JOIN stored_objects ON stored_objects.id = file_id
            WHERE file_id > :after_file_id AND stored_objects.id > :after_file_id
            ORDER BY file_id LIMIT 1000

        Both tables need the condition. Otherwise, Postgres may read the second one from its
        beginning for each page.
        """
        statement = (
            sa.select(
                Document.id.label("document_id"),
                Document.name.label("document_name"),
                Document.file_id,
                StoredObject.key,
                Document.size,
                Document.sha256,
            )
            .join(StoredObject, StoredObject.id == Document.file_id)
            .where(Document.file_id > after_file_id, StoredObject.id > after_file_id)
            .order_by(Document.file_id)
            .limit(FILE_PAGE_SIZE)
        )
        rows = await self._session.execute(statement)
        return [DocumentFile(**row) for row in rows]

    async def list_used_files(self, file_ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the files to which a document still refers."""
        statement = sa.select(Document.file_id).where(Document.file_id.in_(list(file_ids)))
        rows = await self._session.execute(statement)
        return {row["file_id"] for row in rows}
