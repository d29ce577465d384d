"""Uploads that clients send to the object store themselves, with signed URLs."""

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final
from uuid import UUID

from app.core.access import Principal
from app.core.db import Row, Session
from app.core.errors import Conflict, NotFound, PayloadTooLarge
from app.core.storage import ObjectNotFound, ObjectRequest
from app.documents.lifecycle import FileLifecycle
from app.documents.repository import DocumentRepository
from app.documents.schemas import (
    DirectPart,
    DirectUpload,
    DocumentRead,
    DocumentUpdate,
    StoredFile,
    UploadCreate,
)
from app.documents.service import DocumentService

# A file below this size is one part.
MIN_PART_SIZE: Final = 64 * 1024 * 1024  # bytes
MAX_PARTS: Final = 1000


class DirectUploads:
    """Operations on the direct uploads of documents that the principal may access.

    A client creates an upload, sends the parts of the file to their URLs, and completes it. Each
    is a multipart upload of the store, even if it has one part: its URLs stop working when it is
    completed, so that nobody can change the bytes of a document afterwards.

    `on_progress` is called while a large file is read, from a thread.
    """

    def __init__(
        self,
        session: Session,
        files: FileLifecycle,
        principal: Principal,
        on_progress: Callable[[], object],
    ) -> None:
        scope = principal.owner_filter("documents")
        self._documents = DocumentService(session, files, principal)
        self._writes = DocumentRepository(session, scope)
        # Rows are read outside of the request's transaction, so that no connection is held while
        # the store responds.
        self._reads = DocumentRepository(files.objects.session, scope)
        self._files = files
        self._storage = files.storage
        self._settings = files.settings
        self._on_progress = on_progress

    async def create(self, document_id: UUID, data: UploadCreate) -> DirectUpload:
        """Create an upload for the file of a document.

        Raises `NotFound` if the document does not exist, and `PayloadTooLarge` if the file is
        larger than allowed.
        """
        if data.size > self._settings.max_upload_size:
            raise PayloadTooLarge("The file is larger than allowed")
        await self._reads.get(document_id)
        object_id, key = await self._files.create_pending(
            document_id=document_id, **data.model_dump()
        )
        upload_id = await self._storage.start_multipart_upload(key)
        upload = await self._sign(object_id, key, upload_id, data.size)
        await self._writes.start_upload(document_id, object_id, upload_id)
        return upload

    async def get(self, document_id: UUID, object_id: UUID) -> DirectUpload:
        """Read an upload, with fresh URLs. Raises `NotFound` if it is completed or expired."""
        row = await self._get_row(document_id, object_id, {"pending"})
        return await self._sign(row["id"], row["key"], row["upload_id"], row["size"])

    async def complete(self, document_id: UUID, object_id: UUID) -> DocumentRead:
        """Make the file that has arrived the file of the document. Return the document.

        Changes nothing if the upload is already completed. Raises `NotFound` if there is no such
        upload, and `Conflict` if the file is not the one that was announced.
        """
        row = await self._get_row(document_id, object_id, {"pending", "ready"})
        if row["state"] == "ready":
            return await self._documents.get(document_id)
        # The store has no such multipart upload if an earlier request has completed it and then
        # failed. The object exists in that case, and `_verify_object` finds it.
        with suppress(ObjectNotFound):
            await self._complete_multipart(row)
        await self._verify_object(row)
        file = StoredFile(
            file_id=object_id,
            filename=row["filename"],
            content_type=row["content_type"],
            size=row["size"],
            sha256=row["sha256"],
        )
        return await self._documents.update(document_id, DocumentUpdate(file=file))

    async def _get_row(self, document_id: UUID, object_id: UUID, states: Collection[str]) -> Row:
        """Read the row of an upload in one of these states, and keep it from expiring."""
        row = await self._reads.upload(document_id, object_id)
        if row is None or row["state"] not in states:
            raise NotFound("Upload not found")
        await self._files.objects.record_progress(object_id)
        return row

    async def _sign(self, object_id: UUID, key: str, upload_id: str, size: int) -> DirectUpload:
        sizes = _split_into_parts(size)
        requests = [
            ObjectRequest(key, {"uploadId": upload_id, "partNumber": str(number)})
            for number in range(1, len(sizes) + 1)
        ]
        lifetime = self._settings.upload_grace_period
        urls, expires_at = await self._storage.sign_urls("PUT", requests, lifetime)
        parts = [
            DirectPart(number=number, size=size, url=url)
            for number, (size, url) in enumerate(zip(sizes, urls, strict=True), 1)
        ]
        return DirectUpload(id=object_id, parts=parts, expires_at=expires_at)

    async def _complete_multipart(self, row: Row) -> None:
        parts = await self._storage.list_parts(row["key"], row["upload_id"])
        received = sum(part.size for part in parts)
        if received != row["size"]:
            raise Conflict(f"{received} of the {row['size']} bytes announced have arrived")
        etags = [part.etag for part in parts]
        await self._storage.complete_multipart_upload(row["key"], row["upload_id"], etags)

    async def _verify_object(self, row: Row) -> None:
        """Compare the object with what was announced, and remove it if it differs."""
        try:
            is_expected = await self._storage.get_size(row["key"]) == row["size"]
        except ObjectNotFound:
            raise Conflict("Nothing has arrived") from None
        if is_expected and row["sha256"] is not None:
            is_expected = (
                await self._storage.compute_sha256(row["key"], self._on_progress) == row["sha256"]
            )
        if not is_expected:
            await self._files.discard(row["id"], row["key"])
            raise Conflict("What has arrived is not what was announced")


def _split_into_parts(size: int) -> list[int]:
    """Return the sizes of the parts of a file, in bytes. All but the last are equal."""
    size_of_max_parts = (size + MAX_PARTS - 1) // MAX_PARTS
    part_size = max(MIN_PART_SIZE, size_of_max_parts)
    return [min(part_size, size - start) for start in range(0, size, part_size)]
