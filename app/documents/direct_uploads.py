"""Direct uploads: clients send files to the object store themselves, with signed URLs."""

from collections.abc import Callable, Collection
from contextlib import suppress
from math import ceil
from typing import Final
from uuid import UUID

from app.core.access import Principal
from app.core.db import Row, Session
from app.core.errors import Conflict, NotFound, PayloadTooLarge
from app.core.sizes import format_size
from app.core.storage import ObjectNotFound, ObjectRequest
from app.documents.lifecycle import FileLifecycle
from app.documents.repository import DocumentRepository
from app.documents.schemas import (
    AnnouncedFile,
    DirectPart,
    DirectUpload,
    DocumentRead,
    DocumentUpdate,
    StoredFile,
)
from app.documents.service import DocumentService

# A file that is not larger than this is a single part.
MIN_PART_SIZE: Final = 64 * 1024 * 1024  # bytes
MAX_PARTS: Final = 1000


class DirectUploadService:
    """Creates, reads and completes direct uploads for the documents of the principal.

    A client creates a direct upload, sends each part of the file to the signed URL of the part, and
    completes the upload. Every direct upload is a multipart upload of the store, even if the file
    has a single part, because its URLs stop working when it is completed. Nobody can use them to
    change the file of a document afterwards.

    The id of a direct upload is the id of the stored object that it creates.
    """

    def __init__(
        self,
        session: Session,
        file_lifecycle: FileLifecycle,
        principal: Principal,
        on_progress: Callable[[], object],
    ) -> None:
        """Create the service for one request.

        Args:
            session: Writes to documents. It may be a transaction that lasts for the whole request.
            file_lifecycle: Creates and removes stored files.
            principal: The sender of the request.
            on_progress: Called regularly, from a thread, while an uploaded file is read to verify
                its SHA-256, so that the request does not time out.
        """
        owner_filter = principal.owner_filter("documents")
        self._document_service = DocumentService(session, file_lifecycle, principal)
        self._document_repository = DocumentRepository(session, owner_filter)
        # Commits each statement, so that no database connection is held during the calls to the
        # store that follow a read.
        self._autocommit_document_repository = DocumentRepository(
            file_lifecycle.autocommit_session, owner_filter
        )
        self._file_lifecycle = file_lifecycle
        self._storage = file_lifecycle.storage
        self._settings = file_lifecycle.settings
        self._on_progress = on_progress

    async def create(self, document_id: UUID, announced_file: AnnouncedFile) -> DirectUpload:
        """Create a direct upload for the new file of a document.

        Raises `NotFound` if the document does not exist, and `PayloadTooLarge` if the file is
        larger than allowed.
        """
        max_size = self._settings.max_upload_size
        if announced_file.size > max_size:
            raise PayloadTooLarge(f"The file must not exceed {format_size(max_size)}")
        # Check that the document exists before anything is created in the store.
        await self._autocommit_document_repository.get(document_id)
        object_id, key = await self._file_lifecycle.create_pending_object(
            document_id=document_id, **announced_file.model_dump()
        )
        multipart_upload_id = await self._storage.start_multipart_upload(key)
        direct_upload = await self._build_direct_upload(
            object_id, key, multipart_upload_id, announced_file.size
        )
        await self._document_repository.set_upload_id(document_id, object_id, multipart_upload_id)
        return direct_upload

    async def get(self, document_id: UUID, object_id: UUID) -> DirectUpload:
        """Read a direct upload that is not completed yet, with new signed URLs for its parts.

        Raises `NotFound` if the upload does not exist, is completed or has expired.
        """
        upload_row = await self._get_upload_row(document_id, object_id, {"pending"})
        await self._file_lifecycle.stored_objects.record_progress(object_id)
        return await self._build_direct_upload(
            object_id, upload_row["key"], upload_row["upload_id"], upload_row["size"]
        )

    async def complete(self, document_id: UUID, object_id: UUID) -> DocumentRead:
        """Make the uploaded file the file of its document. Return the document.

        Changes nothing if the upload is already completed.

        Raises `NotFound` if the upload does not exist or has expired, and `Conflict` if the
        uploaded file is incomplete or differs from the announced file.
        """
        upload_row = await self._get_upload_row(document_id, object_id, {"pending", "ready"})
        # Keep the upload from expiring while the file is verified.
        await self._file_lifecycle.stored_objects.record_progress(object_id)
        if upload_row["state"] == "ready":
            return await self._document_service.get(document_id)
        # An earlier request may have combined the parts and failed afterwards. In this case, the
        # multipart upload does not exist any more, but the object does.
        with suppress(ObjectNotFound):
            await self._combine_parts(upload_row)
        await self._verify_uploaded_object(upload_row)
        file = StoredFile(
            file_id=object_id,
            filename=upload_row["filename"],
            content_type=upload_row["content_type"],
            size=upload_row["size"],
            sha256=upload_row["sha256"],
        )
        return await self._document_service.update(document_id, DocumentUpdate(file=file))

    async def _get_upload_row(
        self, document_id: UUID, object_id: UUID, allowed_states: Collection[str]
    ) -> Row:
        """Read the row of a direct upload from the table `stored_objects`.

        Raises `NotFound` if the upload does not exist, or if its state is not one of the allowed
        states. For example, the state of an expired upload is `deleting`.
        """
        repository = self._autocommit_document_repository
        upload_row = await repository.find_direct_upload(document_id, object_id)
        if upload_row is None or upload_row["state"] not in allowed_states:
            raise NotFound("Upload not found")
        return upload_row

    async def _build_direct_upload(
        self, object_id: UUID, key: str, multipart_upload_id: str, file_size: int
    ) -> DirectUpload:
        """Describe a direct upload to the client, with a new signed URL for each part of the file.

        A client sends a part with the request
        `PUT <key>?uploadId=<multipart_upload_id>&partNumber=1`.
        """
        part_sizes = _split_into_parts(file_size)
        put_requests = []
        for part_number in range(1, len(part_sizes) + 1):
            query = {"uploadId": multipart_upload_id, "partNumber": str(part_number)}
            put_requests.append(ObjectRequest(key, query))
        lifetime_seconds = self._settings.upload_grace_period
        urls, expires_at = await self._storage.sign_urls("PUT", put_requests, lifetime_seconds)
        parts = []
        for part_number, (size, url) in enumerate(zip(part_sizes, urls, strict=True), start=1):
            parts.append(DirectPart(number=part_number, size=size, url=url))
        return DirectUpload(id=object_id, parts=parts, expires_at=expires_at)

    async def _combine_parts(self, upload_row: Row) -> None:
        """Complete the multipart upload in the store, so that its parts become one object.

        `upload_row` is the row of the direct upload in `stored_objects`.

        Raises `Conflict` if the store has not received all parts, and `ObjectNotFound` if the
        multipart upload does not exist in the store.
        """
        key = upload_row["key"]
        multipart_upload_id = upload_row["upload_id"]
        file_size = upload_row["size"]
        parts = await self._storage.list_parts(key, multipart_upload_id)
        received_bytes = sum(part.size for part in parts)
        if received_bytes != file_size:
            raise Conflict(
                f"The upload is incomplete: the store has {received_bytes} of {file_size} bytes"
            )
        etags = [part.etag for part in parts]
        await self._storage.complete_multipart_upload(key, multipart_upload_id, etags)

    async def _verify_uploaded_object(self, upload_row: Row) -> None:
        """Require the uploaded object to have the size and the SHA-256 that the client announced.

        `upload_row` is the row of the direct upload in `stored_objects`. An object that differs is
        removed from the store.

        Raises `Conflict` if the object differs or does not exist.
        """
        key = upload_row["key"]
        try:
            uploaded_size = await self._storage.get_size(key)
        except ObjectNotFound:
            raise Conflict("The store has not received the file yet") from None
        has_announced_size = uploaded_size == upload_row["size"]
        if not has_announced_size or not await self._has_announced_sha256(upload_row):
            await self._file_lifecycle.discard_object(upload_row["id"], key)
            raise Conflict("The uploaded file differs from the announced size or SHA-256")

    async def _has_announced_sha256(self, upload_row: Row) -> bool:
        """Return whether an uploaded object has the SHA-256 that the client announced.

        Returns True if the client did not announce a SHA-256.
        """
        announced_sha256: str | None = upload_row["sha256"]
        if announced_sha256 is None:
            return True
        uploaded_sha256 = await self._storage.compute_sha256(upload_row["key"], self._on_progress)
        return uploaded_sha256 == announced_sha256


def _split_into_parts(file_size: int) -> list[int]:
    """Return the sizes in bytes of the parts in which a file is uploaded.

    For example, a file of 150 MiB has parts of 64, 64 and 22 MiB. Parts are larger than 64 MiB
    (`MIN_PART_SIZE`) only if the file would otherwise have more than `MAX_PARTS` parts.
    """
    part_size = max(MIN_PART_SIZE, ceil(file_size / MAX_PARTS))
    full_part_count, last_part_size = divmod(file_size, part_size)
    part_sizes = [part_size] * full_part_count
    if last_part_size > 0:
        part_sizes.append(last_part_size)
    return part_sizes
