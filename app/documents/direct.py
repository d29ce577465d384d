"""Uploads that go from the client straight to the store, by signed URLs."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

from app.core.access import Principal
from app.core.db import Row, Session
from app.core.errors import Conflict, NotFound, PayloadTooLarge
from app.core.storage import NotStored
from app.documents.lifecycle import FileLifecycle
from app.documents.repository import DocumentRepository
from app.documents.schemas import DirectPart, DirectUpload, FileHead, UploadCreate

MIN_PART: Final = 64 * 1024 * 1024  # bytes; a smaller file is one part
MAX_PARTS: Final = 1000


class DirectUploads:
    """Always multipart uploads of the store: their URLs are of no use once they are completed,
    so that nobody can change the bytes of a document afterwards."""

    def __init__(
        self,
        session: Session,
        files: FileLifecycle,
        principal: Principal,
        record_progress: Callable[[], object],
    ) -> None:
        scope = principal.only("documents")
        # What is asked for while the store may have to answer is no part of a transaction.
        self._found = DocumentRepository(files.objects.session, scope)
        self._documents, self._files = DocumentRepository(session, scope), files
        self._storage, self._settings = files.storage, files.settings
        self._record_progress = record_progress

    async def start(self, document_id: UUID, data: UploadCreate) -> DirectUpload:
        if data.size > self._settings.max_upload_size:
            raise PayloadTooLarge("The file is larger than allowed")
        await self._found.get(document_id)
        object_id, key = await self._files.create_pending(
            document_id=document_id, **data.model_dump()
        )
        upload_id = await self._storage.start(key)
        upload = await self._signed(object_id, key, upload_id, data.size)
        await self._documents.start_upload(document_id, object_id, upload_id)
        return upload

    async def get(self, document_id: UUID, object_id: UUID) -> DirectUpload:
        """The upload, with fresh URLs for as long as it may go on."""
        row = await self._find(document_id, object_id)
        return await self._signed(row["id"], row["key"], row["upload_id"], row["size"])

    async def _signed(self, object_id: UUID, key: str, upload_id: str, size: int) -> DirectUpload:
        seconds, part = self._settings.upload_grace_period, part_size(size)
        sizes = [min(part, size - start) for start in range(0, size, part)]
        requests = [
            (key, {"uploadId": upload_id, "partNumber": str(number)})
            for number in range(1, len(sizes) + 1)
        ]
        urls, expires = await self._storage.signed("PUT", requests, seconds)
        parts = [
            DirectPart(number=number, size=size, url=url)
            for number, (size, url) in enumerate(zip(sizes, urls, strict=True), 1)
        ]
        return DirectUpload(id=object_id, parts=parts, expires_at=expires)

    async def complete(self, document_id: UUID, object_id: UUID) -> None:
        """Make what has arrived the document's file; done twice it is the same."""
        row = await self._find(document_id, object_id, also="ready")
        if row["state"] == "ready":
            return
        with suppress(NotStored):  # completed before, by a request whose end did not come
            await self._complete(row)
        await self._check(row)
        values = {name: row[name] for name in (*FileHead.model_fields, "size", "sha256")}
        await self._documents.update(document_id, {"file_id": object_id, **values}, None)

    async def _find(self, document_id: UUID, object_id: UUID, *, also: str = "") -> Row:
        """The upload while it is pending; asking for it keeps it from expiring."""
        row = await self._found.upload(document_id, object_id)
        if row is None or row["state"] not in {"pending", also}:
            raise NotFound("Upload not found")
        await self._files.objects.record_progress(object_id)
        return row

    async def _complete(self, row: Row) -> None:
        parts = await self._storage.parts(row["key"], row["upload_id"])
        arrived = sum(size for _, size in parts)
        if arrived != row["size"]:
            raise Conflict(f"{arrived} of the {row['size']} bytes announced have arrived")
        await self._storage.complete(row["key"], row["upload_id"], [etag for etag, _ in parts])

    async def _check(self, row: Row) -> None:
        """What is stored is what was announced; else it is removed at once."""
        try:
            same = await self._storage.size(row["key"]) == row["size"]
        except NotStored:
            raise Conflict("Nothing has arrived") from None
        if same and row["sha256"] is not None:
            digest = await self._storage.sha256(row["key"], self._record_progress)
            same = digest == row["sha256"]
        if not same:
            await self._files.discard(row["id"], row["key"])
            raise Conflict("What has arrived is not what was announced")


def part_size(size: int) -> int:
    """Bytes of every part but the last."""
    return max(MIN_PART, -(-size // MAX_PARTS))
