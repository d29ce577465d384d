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
    DirectPart,
    DirectUpload,
    DocumentRead,
    DocumentUpdate,
    StoredFile,
    UploadCreate,
)
from app.documents.service import DocumentService

# A smaller file is a single part.
MIN_PART_SIZE: Final = 64 * 1024 * 1024  # bytes
MAX_PARTS: Final = 1000


class DirectUploads:
    """Creates and completes direct uploads for the documents that the principal may access.

    A client creates an upload, sends each part of the file to the signed URL of the part, and
    completes the upload. Each is a multipart upload of the store, even if it has one part. Its URLs
    stop working when it is completed, so that nobody can change the bytes of a document afterwards.
    """

    def __init__(
        self,
        session: Session,
        lifecycle: FileLifecycle,
        principal: Principal,
        on_progress: Callable[[], object],
    ) -> None:
        """Prepare the operations of one request.

        Args:
            session: The session of the request, for writes to documents.
            lifecycle: Creates and removes stored files.
            principal: The sender of the request.
            on_progress: Called regularly from a thread while a file in the store is verified, so
                that the request does not time out.
        """
        scope = principal.owner_filter("documents")
        self._documents = DocumentService(session, lifecycle, principal)
        self._request_repository = DocumentRepository(session, scope)
        # Reads outside the transaction of the request, so that no connection is held while the
        # store responds.
        self._read_repository = DocumentRepository(lifecycle.stored_objects.session, scope)
        self._lifecycle = lifecycle
        self._storage = lifecycle.storage
        self._settings = lifecycle.settings
        self._on_progress = on_progress

    async def create(self, document_id: UUID, announced_file: UploadCreate) -> DirectUpload:
        """Create an upload for the file of a document.

        Raises `NotFound` if the document does not exist, and `PayloadTooLarge` if the file is
        larger than allowed.
        """
        max_size = self._settings.max_upload_size
        if announced_file.size > max_size:
            raise PayloadTooLarge(f"The file is larger than the allowed {int(max_size)} bytes")
        await self._read_repository.get(document_id)
        object_id, key = await self._lifecycle.create_pending_object(
            document_id=document_id, **announced_file.model_dump()
        )
        upload_id = await self._storage.start_multipart_upload(key)
        upload = await self._sign_part_urls(object_id, key, upload_id, announced_file.size)
        await self._request_repository.set_upload_id(document_id, object_id, upload_id)
        return upload

    async def get(self, document_id: UUID, object_id: UUID) -> DirectUpload:
        """Read an upload, with new URLs for its parts.

        Raises `NotFound` if the upload does not exist, is completed or has expired.
        """
        row = await self._get_row(document_id, object_id, {"pending"})
        return await self._sign_part_urls(row["id"], row["key"], row["upload_id"], row["size"])

    async def complete(self, document_id: UUID, object_id: UUID) -> DocumentRead:
        """Make the uploaded file the file of its document. Return the document.

        Changes nothing if the upload is already completed.

        Raises `NotFound` if the upload does not exist or has expired, and `Conflict` if the
        uploaded file is incomplete or differs from the announced file.
        """
        row = await self._get_row(document_id, object_id, {"pending", "ready"})
        if row["state"] == "ready":
            return await self._documents.get(document_id)
        # The multipart upload does not exist in the store if an earlier request has completed it
        # and failed afterwards. The object exists in that case, and `_verify_object` finds it.
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

    async def _get_row(
        self, document_id: UUID, object_id: UUID, allowed_states: Collection[str]
    ) -> Row:
        """Read the row of an upload, and record progress so that the upload does not expire.

        Raises `NotFound` if the upload does not exist or is in another state, for example because
        it has expired.
        """
        row = await self._read_repository.find_direct_upload(document_id, object_id)
        if row is None or row["state"] not in allowed_states:
            raise NotFound("Upload not found")
        await self._lifecycle.stored_objects.record_progress(object_id)
        return row

    async def _sign_part_urls(
        self, object_id: UUID, key: str, upload_id: str, file_size: int
    ) -> DirectUpload:
        """Return the upload with a new signed URL for each of its parts."""
        part_sizes = _split_into_parts(file_size)
        requests = []
        for number in range(1, len(part_sizes) + 1):
            query = {"uploadId": upload_id, "partNumber": str(number)}
            requests.append(ObjectRequest(key, query))
        lifetime_seconds = self._settings.upload_grace_period
        urls, expires_at = await self._storage.sign_urls("PUT", requests, lifetime_seconds)
        parts = []
        for number, (size, url) in enumerate(zip(part_sizes, urls, strict=True), start=1):
            parts.append(DirectPart(number=number, size=size, url=url))
        return DirectUpload(id=object_id, parts=parts, expires_at=expires_at)

    async def _complete_multipart(self, row: Row) -> None:
        """Combine the parts of an upload to one object in the store.

        Raises `Conflict` if parts of the file are missing, and `ObjectNotFound` if the multipart
        upload does not exist in the store.
        """
        parts = await self._storage.list_parts(row["key"], row["upload_id"])
        received_bytes = sum(part.size for part in parts)
        if received_bytes != row["size"]:
            raise Conflict(
                f"The upload is incomplete: the store has {received_bytes} of {row['size']} bytes"
            )
        etags = [part.etag for part in parts]
        await self._storage.complete_multipart_upload(row["key"], row["upload_id"], etags)

    async def _verify_object(self, row: Row) -> None:
        """Compare an object in the store with the announced file, and remove it if they differ.

        The size is compared, and the SHA-256 if the client has announced one.

        Raises `Conflict` if they differ or the object does not exist.
        """
        key = row["key"]
        try:
            matches = await self._storage.get_size(key) == row["size"]
        except ObjectNotFound:
            raise Conflict("The store has not received the file yet") from None
        if matches and row["sha256"] is not None:
            matches = await self._storage.compute_sha256(key, self._on_progress) == row["sha256"]
        if not matches:
            await self._lifecycle.discard_object(row["id"], key)
            raise Conflict("The uploaded file differs from the announced size or SHA-256")


def _split_into_parts(file_size: int) -> list[int]:
    """Return the sizes of the parts of a file, in bytes. All but the last are equal.

    A part has at least `MIN_PART_SIZE` bytes, and more if the file would otherwise have more than
    `MAX_PARTS` parts. For example, a file of 150 MiB has parts of 64, 64 and 22 MiB.
    """
    # The quotient rounded up.
    size_of_max_parts = (file_size + MAX_PARTS - 1) // MAX_PARTS
    part_size = max(MIN_PART_SIZE, size_of_max_parts)
    return [min(part_size, file_size - start) for start in range(0, file_size, part_size)]
