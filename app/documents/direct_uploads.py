"""Direct uploads: clients send files to the object store themselves, with signed URLs."""

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
            raise PayloadTooLarge(f"The file is larger than the allowed {int(max_size)} bytes")
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
        row = await self._get_row_and_record_progress(document_id, object_id, {"pending"})
        return await self._build_direct_upload(row["id"], row["key"], row["upload_id"], row["size"])

    async def complete(self, document_id: UUID, object_id: UUID) -> DocumentRead:
        """Make the uploaded file the file of its document. Return the document.

        Changes nothing if the upload is already completed.

        Raises `NotFound` if the upload does not exist or has expired, and `Conflict` if the
        uploaded file is incomplete or differs from the announced file.
        """
        row = await self._get_row_and_record_progress(document_id, object_id, {"pending", "ready"})
        if row["state"] == "ready":
            return await self._document_service.get(document_id)
        # If an earlier request has combined the parts and failed afterwards, the multipart upload
        # does not exist any more. The object then exists, and `_verify_uploaded_object` finds it.
        with suppress(ObjectNotFound):
            await self._combine_parts(row)
        await self._verify_uploaded_object(row)
        file = StoredFile(
            file_id=object_id,
            filename=row["filename"],
            content_type=row["content_type"],
            size=row["size"],
            sha256=row["sha256"],
        )
        return await self._document_service.update(document_id, DocumentUpdate(file=file))

    async def _get_row_and_record_progress(
        self, document_id: UUID, object_id: UUID, allowed_states: Collection[str]
    ) -> Row:
        """Read the row of a direct upload in `stored_objects`, and keep the upload from expiring.

        Raises `NotFound` if the upload does not exist, or if its state is not one of the allowed
        states. For example, the state of an expired upload is `deleting`.
        """
        row = await self._autocommit_document_repository.find_direct_upload(document_id, object_id)
        if row is None or row["state"] not in allowed_states:
            raise NotFound("Upload not found")
        await self._file_lifecycle.stored_objects.record_progress(object_id)
        return row

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

    async def _combine_parts(self, row: Row) -> None:
        """Complete the multipart upload in the store, so that its parts become one object.

        `row` is the row of the direct upload in `stored_objects`.

        Raises `Conflict` if the store has not received all parts, and `ObjectNotFound` if the
        multipart upload does not exist in the store.
        """
        parts = await self._storage.list_parts(row["key"], row["upload_id"])
        received_bytes = sum(part.size for part in parts)
        if received_bytes != row["size"]:
            raise Conflict(
                f"The upload is incomplete: the store has {received_bytes} of {row['size']} bytes"
            )
        etags = [part.etag for part in parts]
        await self._storage.complete_multipart_upload(row["key"], row["upload_id"], etags)

    async def _verify_uploaded_object(self, row: Row) -> None:
        """Check that an uploaded object has the size and the SHA-256 that the client announced.

        `row` is the row of the direct upload in `stored_objects`. Its SHA-256 is None if the client
        has not announced one. If the object differs, it is removed from the store.

        Raises `Conflict` if the object differs or does not exist.
        """
        key = row["key"]
        announced_sha256 = row["sha256"]
        try:
            matches = await self._storage.get_size(key) == row["size"]
        except ObjectNotFound:
            raise Conflict("The store has not received the file yet") from None
        if matches and announced_sha256 is not None:
            sha256 = await self._storage.compute_sha256(key, self._on_progress)
            matches = sha256 == announced_sha256
        if not matches:
            await self._file_lifecycle.discard_object(row["id"], key)
            raise Conflict("The uploaded file differs from the announced size or SHA-256")


def _split_into_parts(file_size: int) -> list[int]:
    """Return the sizes of the parts in which a file is uploaded, in bytes.

    For example, a file of 150 MiB has parts of 64, 64 and 22 MiB. Parts are larger than 64 MiB
    (`MIN_PART_SIZE`) only if the file would otherwise have more than `MAX_PARTS` parts.
    """
    # The smallest size with which `MAX_PARTS` parts are enough: the quotient, rounded up.
    smallest_allowed_size = (file_size + MAX_PARTS - 1) // MAX_PARTS
    part_size = max(MIN_PART_SIZE, smallest_allowed_size)
    return [min(part_size, file_size - start) for start in range(0, file_size, part_size)]
