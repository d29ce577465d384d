"""HTTP endpoints of documents. No cache may keep them, because they contain signed URLs."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.errors import Conflict, NotFound, Unavailable
from app.core.http import (
    NO_STORE,
    CurrentPrincipal,
    IdentifyRequest,
    IfMatch,
    RequestSession,
    Router,
    set_etag,
    set_location,
    set_page_links,
)
from app.core.paging import Page
from app.core.server import progress_callback
from app.documents.direct_uploads import DirectUploads
from app.documents.form import Form
from app.documents.incoming import receive_document_form
from app.documents.lifecycle import FileLifecycle
from app.documents.schemas import (
    CREATE_FORM,
    UPDATE_FORM,
    DirectUpload,
    DocumentId,
    DocumentQuery,
    DocumentRead,
    UploadCreate,
    UploadId,
)
from app.documents.service import DocumentService
from app.resources import AppResources

router = Router(prefix="/documents", tags=["documents"], cache_control=NO_STORE)


async def _file_lifecycle(resources: AppResources) -> FileLifecycle:
    # Not the session of the request: the rows of files are committed at each step, even if the
    # request has a transaction.
    return FileLifecycle(resources.database.writes, resources.storage, resources.settings)


Files = Annotated[FileLifecycle, Depends(_file_lifecycle)]


async def _document_service(
    session: RequestSession, files: Files, principal: CurrentPrincipal
) -> DocumentService:
    return DocumentService(session, files, principal)


async def _direct_uploads(
    session: RequestSession, files: Files, principal: CurrentPrincipal
) -> DirectUploads:
    return DirectUploads(session, files, principal, progress_callback())


async def _form(request: Request) -> Form:
    headers = dict(request.headers)
    # Repeated lines are joined, which makes them invalid. A proxy may have used another line than
    # this service would.
    for name in ("content-type", "content-encoding"):
        headers[name] = ", ".join(request.headers.getlist(name))
    return Form(headers, request.stream())


Documents = Annotated[DocumentService, Depends(_document_service)]
Uploads = Annotated[DirectUploads, Depends(_direct_uploads)]
Body = Annotated[Form, Depends(_form)]


@router.get("/{id}", permission="documents", errors=[Unavailable])
async def read_document(id: DocumentId, documents: Documents, response: Response) -> DocumentRead:
    """Get a document.

    `file_url` is a new signed URL of its file.
    """
    document = await documents.get(id)
    set_etag(response, document)
    return document


@router.get("", permission="documents", errors=[Unavailable])
async def list_documents(
    query: Annotated[DocumentQuery, Query()],
    documents: Documents,
    request: Request,
    response: Response,
) -> Page[DocumentRead]:
    """List documents.

    `file_url` of each document is a new signed URL of its file.
    """
    page = await documents.page(query)
    set_page_links(request, response, page)
    return page


@router.get(
    "/{id}/content",
    permission="documents",
    status_code=307,
    has_location=True,
    response_class=Response,
    errors=[Unavailable],
)
async def read_document_content(id: DocumentId, documents: Documents) -> Response:
    """Download the file of a document.

    The response redirects to a new signed URL of the file.
    """
    document = await documents.get(id)
    if document.file_url is None:
        raise NotFound("The document has no file")
    return RedirectResponse(document.file_url)


@router.post(
    "", permission="documents", status_code=201, openapi_extra=CREATE_FORM, errors=[Unavailable]
)
async def create_document(
    form: Body,
    files: Files,
    documents: Documents,
    identify_request: IdentifyRequest,
    response: Response,
) -> DocumentRead:
    """Create a document.

    The file is streamed to the object store while it is received.
    """
    async with receive_document_form(form, files) as received:
        identify_request(received.content())
        document = await documents.create(received.to_create())
    set_etag(response, document)
    set_location(response, f"/documents/{document.id}")
    return document


@router.patch("/{id}", permission="documents", openapi_extra=UPDATE_FORM, errors=[Unavailable])
async def update_document(
    id: DocumentId,
    form: Body,
    files: Files,
    documents: Documents,
    if_match: IfMatch,
    response: Response,
) -> DocumentRead:
    """Update a document.

    The form has a new name, a file that replaces the present one, or both.
    """
    # Errors are found before the form is read, so that no client uploads a file in vain.
    document = await documents.get(id, if_match)
    async with receive_document_form(form, files) as received:
        if not received.is_empty:
            document = await documents.update(id, received.to_update(), if_match)
    set_etag(response, document)
    return document


@router.delete("/{id}", permission="documents")
async def delete_document(id: DocumentId, documents: Documents, if_match: IfMatch) -> None:
    """Delete a document and its file."""
    await documents.delete(id, if_match)


@router.post("/{id}/uploads", permission="documents", status_code=201, errors=[Unavailable])
async def create_upload(
    id: DocumentId, data: UploadCreate, uploads: Uploads, response: Response
) -> DirectUpload:
    """Start a direct upload.

    A direct upload does not pass through this service. Send each part of the file to its URL with
    PUT, then complete the upload.
    """
    upload = await uploads.create(id, data)
    set_location(response, f"/documents/{id}/uploads/{upload.id}")
    return upload


@router.get("/{id}/uploads/{upload_id}", permission="documents", errors=[Unavailable])
async def read_upload(id: DocumentId, upload_id: UploadId, uploads: Uploads) -> DirectUpload:
    """Get new URLs for a direct upload."""
    return await uploads.get(id, upload_id)


@router.post(
    "/{id}/uploads/{upload_id}/complete", permission="documents", errors=[Unavailable, Conflict]
)
async def complete_upload(
    id: DocumentId, upload_id: UploadId, uploads: Uploads, response: Response
) -> DocumentRead:
    """Complete a direct upload.

    The uploaded file becomes the file of the document.
    """
    document = await uploads.complete(id, upload_id)
    set_etag(response, document)
    return document
