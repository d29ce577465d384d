"""Direct uploads: clients send files to the object store themselves, with signed URLs."""

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final
from uuid import UUID

from app.core.access import Principal
from app.core.db import Session
from app.core.errors import NotFound, PayloadTooLarge, ServiceError
from app.core.sizes import format_size
from app.core.storage import ObjectRequest
from app.documents.direct_upload_repository import DirectUploadRepository
from app.documents.lifecycle import FileLifecycle
from app.documents.repository import DocumentRepository
from app.documents.schemas import AnnouncedFile, DirectPart, DirectUpload

# A file that is not larger than this is a single part.
MIN_PART_SIZE: Final = 64 * 1024 * 1024  # bytes
MAX_PARTS: Final = 1000
# A direct upload expires after this many grace periods, which are a day by default, even if the
# client requests its URLs again and again.
LIFETIME_IN_GRACE_PERIODS: Final = 24


class DirectUploadService:
    """Creates and reads direct uploads for the documents of the principal.

    A client creates a direct upload, sends each part of the file to the signed URL of the part, and
    completes the upload (`UploadCompletionService`). Every direct upload is a multipart upload of
    the store, even if the file has a single part, because its URLs stop working when it is
    completed. Nobody can use them to change the file of a document afterwards.

    The id of a direct upload is the id of the stored object that it creates.
    """

    def __init__(
        self, session: Session, file_lifecycle: FileLifecycle, principal: Principal
    ) -> None:
        """Create a service that acts with the permissions of the principal.

        `session` may be a transaction that lasts for the whole request.
        """
        owner_filter = principal.owner_filter("documents")
        self._upload_repository = DirectUploadRepository(session, owner_filter)
        # These commit each statement, so that no database connection is held during the calls to
        # the store that follow a statement.
        self._autocommit_document_repository = DocumentRepository(
            file_lifecycle.autocommit_session, owner_filter, file_lifecycle.quotas
        )
        self._autocommit_upload_repository = DirectUploadRepository(
            file_lifecycle.autocommit_session, owner_filter
        )
        self._file_lifecycle = file_lifecycle
        self._storage = file_lifecycle.storage
        self._grace_period = timedelta(seconds=file_lifecycle.settings.upload_grace_period)
        self._lifetime = self._grace_period * LIFETIME_IN_GRACE_PERIODS
        self._max_size = file_lifecycle.settings.max_upload_size

    async def create(self, document_id: UUID, announced_file: AnnouncedFile) -> DirectUpload:
        """Create a direct upload for the new file of a document.

        Raises `NotFound` if the document does not exist, `PayloadTooLarge` if the file is larger
        than allowed, and `TooManyUploads` or `StorageQuotaExceeded` if it exceeds a quota.
        """
        if announced_file.size > self._max_size:
            raise PayloadTooLarge(f"The file must not exceed {format_size(self._max_size)}")
        # Check that the document exists before anything is created in the store.
        await self._autocommit_document_repository.get(document_id)
        expires_at = datetime.now(UTC) + self._lifetime
        object_id, key = await self._file_lifecycle.create_direct_upload(
            document_id, expires_at=expires_at, **announced_file.model_dump()
        )
        multipart_upload_id = await self._start_multipart_upload(object_id, key)
        direct_upload = await self._build_direct_upload(
            object_id, key, multipart_upload_id, announced_file.size, expires_at
        )
        has_upload_id = await self._upload_repository.set_upload_id(
            document_id, object_id, multipart_upload_id
        )
        if not has_upload_id:
            raise NotFound("Document not found")
        return direct_upload

    async def get(self, document_id: UUID, object_id: UUID) -> DirectUpload:
        """Read a direct upload that is not completed yet, with new signed URLs for its parts.

        Raises `NotFound` if the upload does not exist, is completed or has expired.
        """
        upload_row = await self._autocommit_upload_repository.record_progress(
            document_id, object_id, self._lifetime
        )
        if upload_row is None:
            raise NotFound("Upload not found")
        return await self._build_direct_upload(
            object_id,
            upload_row["key"],
            upload_row["upload_id"],
            upload_row["size"],
            upload_row["expires_at"],
        )

    async def _start_multipart_upload(self, object_id: UUID, key: str) -> str:
        """Start the multipart upload of a new object in the store. Return its id.

        If the store fails, the object is left to the sweeper, and no longer counts for quotas.
        """
        try:
            return await self._storage.start_multipart_upload(key)
        except ServiceError:
            await self._file_lifecycle.stored_objects.mark_for_deletion(object_id)
            raise

    async def _build_direct_upload(
        self,
        object_id: UUID,
        key: str,
        multipart_upload_id: str,
        file_size: int,
        upload_expires_at: datetime,
    ) -> DirectUpload:
        """Describe a direct upload to the client, with a new signed URL for each part of the file.

        A client sends a part with the request
        `PUT <key>?uploadId=<multipart_upload_id>&partNumber=1`, whose body must have the size of
        the part. The URLs expire with the upload, or earlier.
        """
        part_sizes = _split_into_parts(file_size)
        put_requests = []
        for part_number, part_size in enumerate(part_sizes, start=1):
            query = {"uploadId": multipart_upload_id, "partNumber": str(part_number)}
            put_requests.append(ObjectRequest(key, query, content_length=part_size))
        remaining_lifetime = upload_expires_at - datetime.now(UTC)
        url_lifetime = min(self._grace_period, remaining_lifetime)
        lifetime_seconds = max(1, int(url_lifetime.total_seconds()))
        urls, urls_expire_at = await self._storage.sign_urls("PUT", put_requests, lifetime_seconds)
        parts = []
        for part_number, (size, url) in enumerate(zip(part_sizes, urls, strict=True), start=1):
            parts.append(DirectPart(number=part_number, size=size, url=url))
        return DirectUpload(
            id=object_id,
            parts=parts,
            expires_at=urls_expire_at,
            upload_expires_at=upload_expires_at,
        )


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
