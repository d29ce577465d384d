"""HTTP endpoints of direct uploads. No cache may keep them, because they contain signed URLs."""

from typing import Annotated

from fastapi import Depends, Request, Response
from starlette.requests import ClientDisconnect

from app.core.errors import Conflict, RequestInProgress, TooManyRequests, Unavailable
from app.core.http import (
    NO_STORE,
    CurrentCaller,
    CurrentPrincipal,
    RequestSession,
    Router,
    set_etag,
    set_location,
)
from app.core.server import get_progress_callback
from app.core.token_scopes import TokenScope
from app.documents.direct_upload_completion import UploadCompletionService
from app.documents.direct_uploads import DirectUploadService
from app.documents.errors import StorageQuotaExceeded, TooManyUploads
from app.documents.router import FileLifecycleDependency
from app.documents.schemas import AnnouncedFile, DirectUpload, DocumentId, DocumentRead, UploadId

router = Router(prefix="/documents/{id}/uploads", tags=["documents"], cache_control=NO_STORE)


async def _get_direct_upload_service(
    session: RequestSession, file_lifecycle: FileLifecycleDependency, principal: CurrentPrincipal
) -> DirectUploadService:
    """Create the service for direct uploads for one request, as a FastAPI dependency."""
    return DirectUploadService(session, file_lifecycle, principal)


async def _get_completion_service(
    request: Request,
    session: RequestSession,
    file_lifecycle: FileLifecycleDependency,
    principal: CurrentPrincipal,
    caller: CurrentCaller,
) -> UploadCompletionService:
    """Create the service that completes direct uploads for one request, as a FastAPI dependency.

    The service stops when the connection of the client is lost.
    """
    restart_timeout = get_progress_callback()

    async def report_progress() -> None:
        if await request.is_disconnected():
            raise ClientDisconnect
        restart_timeout()

    return UploadCompletionService(session, file_lifecycle, principal, caller, report_progress)


DirectUploadServiceDependency = Annotated[DirectUploadService, Depends(_get_direct_upload_service)]
CompletionServiceDependency = Annotated[UploadCompletionService, Depends(_get_completion_service)]


@router.post(
    "",
    permission="documents",
    status_code=201,
    errors=[Unavailable, TooManyUploads, StorageQuotaExceeded],
)
async def create_upload(
    id: DocumentId,
    announced_file: AnnouncedFile,
    direct_uploads: DirectUploadServiceDependency,
    request: Request,
    response: Response,
) -> DirectUpload:
    """Start a direct upload to the object store.

    The client sends the file to the object store, so it does not pass through this service. Send
    each part of the file to the URL of the part with PUT, then complete the upload.
    """
    upload = await direct_uploads.create(id, announced_file)
    set_location(request, response, f"/documents/{id}/uploads/{upload.id}")
    return upload


# A client can write the parts of the file with the URLs of the response, so the scope `read` is not
# enough.
@router.get(
    "/{upload_id}", permission="documents", token_scope=TokenScope.WRITE, errors=[Unavailable]
)
async def read_upload(
    id: DocumentId, upload_id: UploadId, direct_uploads: DirectUploadServiceDependency
) -> DirectUpload:
    """Get a direct upload, with new URLs for its parts."""
    return await direct_uploads.get(id, upload_id)


@router.post(
    "/{upload_id}/complete",
    permission="documents",
    errors=[Unavailable, TooManyRequests, Conflict, RequestInProgress, StorageQuotaExceeded],
)
async def complete_upload(
    id: DocumentId, upload_id: UploadId, completion: CompletionServiceDependency, response: Response
) -> DocumentRead:
    """Complete a direct upload and attach its file.

    The uploaded file becomes the file of the document. Send all parts before this request. If the
    upload is already completed, nothing changes. While another request completes the same upload,
    the response is 409. The uploads of a user are completed one after the other.
    """
    document = await completion.complete(id, upload_id)
    set_etag(response, document)
    return document
