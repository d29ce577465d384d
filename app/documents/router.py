"""HTTP endpoints of documents. No cache may keep them, because they contain signed URLs."""

from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.core.errors import TooManyRequests, Unavailable
from app.core.http import (
    NO_STORE,
    CurrentCaller,
    CurrentPrincipal,
    IdentifyRequest,
    RequestSession,
    Router,
    WritePrecondition,
    check_content_length,
    read_content_headers,
    request_state,
    set_etag,
    set_location,
    set_page_links,
)
from app.core.multipart import MAX_FORM_OVERHEAD, MultipartForm, describe_form_limit
from app.core.paging import Page
from app.documents.errors import StorageQuotaExceeded, TooManyDocuments
from app.documents.incoming import receive_document_form
from app.documents.lifecycle import FileLifecycle
from app.documents.quotas import FileTarget
from app.documents.schemas import CREATE_FORM, UPDATE_FORM, DocumentId, DocumentQuery, DocumentRead
from app.documents.service import DocumentService
from app.resources import AppResources

router = Router(prefix="/documents", tags=["documents"], cache_control=NO_STORE)


async def _get_file_lifecycle(resources: AppResources) -> FileLifecycle:
    """Create the `FileLifecycle` for one request, as a FastAPI dependency."""
    # `database.writes` commits each statement, even if the request itself has a transaction.
    return FileLifecycle(resources.database.writes, resources.storage, resources.settings)


FileLifecycleDependency = Annotated[FileLifecycle, Depends(_get_file_lifecycle)]


async def _get_document_service(
    session: RequestSession, file_lifecycle: FileLifecycleDependency, principal: CurrentPrincipal
) -> DocumentService:
    """Create the document service for one request, as a FastAPI dependency."""
    return DocumentService(session, file_lifecycle, principal)


async def _get_multipart_form(
    request: Request, file_lifecycle: FileLifecycleDependency
) -> MultipartForm:
    """Return the form in the body of a request. Check its headers, but do not read the body yet.

    Raises `PayloadTooLarge` if the client announces a body that is too large for a form with the
    largest allowed file, and `UnsupportedMediaType` if the body is not a form.
    """
    max_file_size = file_lifecycle.max_form_file_size
    limit_detail = describe_form_limit(max_file_size)
    check_content_length(request, max_file_size + MAX_FORM_OVERHEAD, limit_detail)
    headers = {**request.headers, **read_content_headers(request)}
    return MultipartForm(headers, request.stream())


DocumentServiceDependency = Annotated[DocumentService, Depends(_get_document_service)]
MultipartFormDependency = Annotated[MultipartForm, Depends(_get_multipart_form)]


@router.get("/{id}", permission="documents", errors=[Unavailable])
async def read_document(
    id: DocumentId, documents: DocumentServiceDependency, response: Response
) -> DocumentRead:
    """Get a document.

    `file_url` is a new signed URL, from which the file can be downloaded until
    `file_url_expires_at`.
    """
    document = await documents.get(id)
    set_etag(response, document)
    return document


@router.get("", permission="documents", errors=[Unavailable])
async def list_documents(
    query: Annotated[DocumentQuery, Query()],
    documents: DocumentServiceDependency,
    request: Request,
    response: Response,
) -> Page[DocumentRead]:
    """List documents, page by page.

    The `file_url` of each document is a new signed URL, from which its file can be downloaded until
    `file_url_expires_at`.
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
async def read_document_content(
    id: DocumentId, documents: DocumentServiceDependency, request: Request
) -> Response:
    """Download the file of a document.

    The response redirects to a new signed URL of the file. That of a HEAD request redirects to a
    URL for HEAD requests.
    """
    # The method of the request itself is always GET.
    method: Literal["GET", "HEAD"] = "HEAD" if request_state(request.scope).is_head else "GET"
    return RedirectResponse(await documents.sign_content_url(id, method))


@router.post(
    "",
    permission="documents",
    status_code=201,
    openapi_extra=CREATE_FORM,
    errors=[Unavailable, TooManyRequests, TooManyDocuments, StorageQuotaExceeded],
)
async def create_document(
    form: MultipartFormDependency,
    file_lifecycle: FileLifecycleDependency,
    documents: DocumentServiceDependency,
    identify_request: IdentifyRequest,
    principal: CurrentPrincipal,
    caller: CurrentCaller,
    request: Request,
    response: Response,
) -> DocumentRead:
    """Create a document and upload its file.

    The form contains a name and optionally a file, which is streamed to the object store while it
    is received.
    """
    target = FileTarget(owner_id=principal.user_id)
    async with receive_document_form(form, file_lifecycle, caller, target) as received_form:
        # A retry with the same Idempotency-Key has to have the same content.
        identify_request(received_form.content_for_idempotency())
        document = await documents.create(received_form.to_create())
    set_etag(response, document)
    set_location(request, response, f"/documents/{document.id}")
    return document


@router.patch(
    "/{id}",
    permission="documents",
    openapi_extra=UPDATE_FORM,
    errors=[Unavailable, TooManyRequests, StorageQuotaExceeded],
)
async def update_document(
    id: DocumentId,
    form: MultipartFormDependency,
    file_lifecycle: FileLifecycleDependency,
    documents: DocumentServiceDependency,
    precondition: WritePrecondition,
    caller: CurrentCaller,
    response: Response,
) -> DocumentRead:
    """Rename a document or replace its file.

    The form contains a new name, a file that replaces the current file, or both.
    """
    # Check the document and its version before the file is received, so that clients do not upload
    # a large file in vain.
    document = await documents.get(id, precondition)
    target = FileTarget(document_id=id, replaced_bytes=document.size or 0)
    async with receive_document_form(form, file_lifecycle, caller, target) as received_form:
        if not received_form.is_empty:
            document = await documents.update(id, received_form.to_update(), precondition)
    set_etag(response, document)
    return document


@router.delete("/{id}", permission="documents")
async def delete_document(
    id: DocumentId, documents: DocumentServiceDependency, precondition: WritePrecondition
) -> None:
    """Delete a document and its file."""
    await documents.delete(id, precondition)
