"""Complete direct uploads: verify the object in the store, and attach it to its document.

In a direct upload, the client sends the parts of a file to signed URLs of the object store, and
then asks this service to complete the upload.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Final
from uuid import UUID

from app.core.access import Principal
from app.core.caller_limits import Caller
from app.core.db import Row, Session
from app.core.errors import Conflict, NotFound, ServiceError
from app.core.storage import ObjectNotFound
from app.documents.direct_upload_repository import DirectUploadRepository
from app.documents.errors import UploadInProgress
from app.documents.lifecycle import FileLifecycle
from app.documents.schemas import DocumentRead, DocumentUpdate, StoredFile
from app.documents.service import DocumentService

# How long a request that completes an upload keeps others from doing so. The request extends this
# time while it makes progress, so it matters only after a crash.
CLAIM_DURATION: Final = timedelta(minutes=1)
CLAIM_EXTENSION_INTERVAL_SECONDS: Final = 15


class UploadCompletionService:
    """Completes direct uploads for the documents of the principal.

    One request at a time may complete an upload, in all processes: it sets `completing_until` in
    the row of the upload. No database connection is held while the store is called.
    """

    def __init__(
        self,
        session: Session,
        file_lifecycle: FileLifecycle,
        principal: Principal,
        caller: Caller,
        on_progress: Callable[[], Awaitable[None]],
    ) -> None:
        """Create the service for one request.

        Args:
            session: Writes to documents. It may be a transaction that lasts for the whole request.
                It holds no connection before its first statement, which attaches the file.
            file_lifecycle: Creates and removes stored files.
            principal: The sender of the request.
            caller: The same sender, as limits see it.
            on_progress: Awaited regularly while an object is read to verify its SHA-256, so that
                the request does not time out. It may raise an error to stop the verification.
        """
        self._document_service = DocumentService(session, file_lifecycle, principal)
        # Commits each statement, so that other requests see a claim immediately.
        self._upload_repository = DirectUploadRepository(
            file_lifecycle.autocommit_session, principal.owner_filter("documents")
        )
        self._file_lifecycle = file_lifecycle
        self._storage = file_lifecycle.storage
        self._caller = caller
        self._on_progress = on_progress
        self._claim_extended_at = monotonic()

    async def complete(self, document_id: UUID, object_id: UUID) -> DocumentRead:
        """Make the uploaded file the file of its document. Return the document.

        Changes nothing if the upload is already completed.

        Raises `NotFound` if the upload does not exist or has expired, `UploadInProgress` if another
        request is completing it, `TooManyRequests` or `Overloaded` if too many uploads are being
        completed, of the caller or in total, and `Conflict` if the uploaded file is incomplete or
        differs from the announced file.
        """
        upload_row = await self._upload_repository.claim(document_id, object_id, CLAIM_DURATION)
        if upload_row is None:
            return await self._get_completed_document(document_id, object_id)
        try:
            # Each user completes one upload at a time, so that nobody delays the uploads of others.
            async with self._storage.completion_turns.take_turn(self._caller):
                # The request may have waited for most of its timeout.
                await self._report_progress(object_id)
                await self._combine_parts(upload_row)
                await self._verify_object(upload_row)
            return await self._attach_file(document_id, upload_row)
        except BaseException:
            # Ignore errors, because the claim expires anyway, and the client has to get the first
            # error.
            with suppress(ServiceError):
                await self._upload_repository.release_claim(object_id)
            raise

    async def _get_completed_document(self, document_id: UUID, object_id: UUID) -> DocumentRead:
        """Return the document of an upload that could not be claimed, if it is completed.

        Raises `UploadInProgress` if another request is completing the upload, and `NotFound` if the
        upload does not exist or has expired.
        """
        upload_row = await self._upload_repository.find(document_id, object_id)
        if upload_row is not None and upload_row["state"] == "ready":
            return await self._document_service.get(document_id)
        if upload_row is not None and upload_row["is_pending"]:
            raise UploadInProgress
        raise NotFound("Upload not found")

    async def _combine_parts(self, upload_row: Row) -> None:
        """Complete the multipart upload in the store, so that its parts become one object.

        `upload_row` is the row of the direct upload in `stored_objects`.

        Does nothing if the store does not have the multipart upload. An earlier request may have
        combined the parts and failed afterwards. In this case, the object exists.

        Raises `Conflict` if the store has not received all parts.
        """
        key = upload_row["key"]
        multipart_upload_id = upload_row["upload_id"]
        file_size = upload_row["size"]
        with suppress(ObjectNotFound):
            parts = await self._storage.list_parts(key, multipart_upload_id)
            received_bytes = sum(part.size for part in parts)
            if received_bytes != file_size:
                raise Conflict(
                    f"The upload is incomplete: the store has {received_bytes} of {file_size} bytes"
                )
            etags = [part.etag for part in parts]
            await self._storage.complete_multipart_upload(key, multipart_upload_id, etags)

    async def _verify_object(self, upload_row: Row) -> None:
        """Require the uploaded object to have the size and the SHA-256 that the client announced.

        `upload_row` is the row of the direct upload in `stored_objects`. An object that differs is
        removed from the store.

        Raises `Conflict` if the object differs or does not exist.
        """
        try:
            is_announced_file = await self._is_announced_file(upload_row)
        except ObjectNotFound:
            # The sweeper may also have removed the object while it was being read.
            raise Conflict("The store does not have the file") from None
        if not is_announced_file:
            await self._file_lifecycle.discard_object(
                upload_row["id"], upload_row["key"], upload_row["upload_id"]
            )
            raise Conflict("The uploaded file differs from the announced size or SHA-256")

    async def _is_announced_file(self, upload_row: Row) -> bool:
        """Return whether an object has the announced size, and the SHA-256 if one was announced."""
        key = upload_row["key"]
        uploaded_size = await self._storage.get_size(key)
        if uploaded_size != upload_row["size"]:
            return False
        announced_sha256: str | None = upload_row["sha256"]
        if announced_sha256 is None:
            return True
        report_progress = partial(self._report_progress, upload_row["id"])
        uploaded_sha256 = await self._storage.compute_sha256(key, uploaded_size, report_progress)
        return uploaded_sha256 == announced_sha256

    async def _report_progress(self, object_id: UUID) -> None:
        """Await `on_progress`, and extend the claim of the upload if it was not extended lately."""
        await self._on_progress()
        if monotonic() - self._claim_extended_at > CLAIM_EXTENSION_INTERVAL_SECONDS:
            self._claim_extended_at = monotonic()
            await self._upload_repository.extend_claim(object_id, CLAIM_DURATION)

    async def _attach_file(self, document_id: UUID, upload_row: Row) -> DocumentRead:
        """Make a verified object the file of its document. Return the document."""
        file = StoredFile(
            file_id=upload_row["id"],
            filename=upload_row["filename"],
            content_type=upload_row["content_type"],
            size=upload_row["size"],
            sha256=upload_row["sha256"],
        )
        return await self._document_service.update(document_id, DocumentUpdate(file=file))
