"""Documents over HTTP. No cache may keep them, for the signed URLs in them."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from app.core.errors import Conflict, NotFound, Unavailable
from app.core.http import (
    IfMatch,
    ReadSession,
    Route,
    WriteSession,
    identify_callback,
    json_response,
    page_response,
    principal,
    requires,
    resource_response,
    responses,
)
from app.core.paging import Page
from app.core.schemas import Id
from app.core.server import progress_callback
from app.documents.direct_uploads import DirectUploads
from app.documents.form import Form
from app.documents.incoming import receive_document_form
from app.documents.lifecycle import FileLifecycle
from app.documents.schemas import (
    CREATE_FORM,
    UPDATE_FORM,
    DirectUpload,
    DocumentQuery,
    DocumentRead,
    UploadCreate,
)
from app.documents.service import DocumentService

CACHE: Final = "no-store"
STORAGE: Final = responses(Unavailable)

router = APIRouter(prefix="/documents", tags=["documents"], route_class=Route)


async def _reader(request: Request, session: ReadSession) -> DocumentService:
    return DocumentService(session, _files(request), principal(request))


async def _writer(request: Request, session: WriteSession) -> DocumentService:
    return DocumentService(session, _files(request), principal(request))


async def _direct(request: Request, session: WriteSession) -> DirectUploads:
    return DirectUploads(session, _files(request), principal(request), progress_callback())


def _files(request: Request) -> FileLifecycle:
    state = request.app.state
    # Not the session of the request: the rows of files are committed at each step, even if the
    # request has a transaction.
    return FileLifecycle(state.database.writes, state.storage, state.settings)


async def _form(request: Request) -> Form:
    headers = dict(request.headers)
    # Repeated lines are joined, which makes them invalid. A proxy may have used another line than
    # this service would.
    for name in ("content-type", "content-encoding"):
        headers[name] = ", ".join(request.headers.getlist(name))
    return Form(headers, request.stream())


DocumentList = Annotated[DocumentQuery, Depends(DocumentQuery.of)]
Reader = Annotated[DocumentService, Depends(_reader)]
Writer = Annotated[DocumentService, Depends(_writer)]
Direct = Annotated[DirectUploads, Depends(_direct)]
Body = Annotated[Form, Depends(_form)]


@router.get("/{id}", response_model=DocumentRead, responses=STORAGE)
@requires("documents")
async def read_document(id: Id, request: Request, documents: Reader) -> Response:
    """One document, with a fresh signed URL for its file."""
    return resource_response(request, await documents.get(id), cache=CACHE)


@router.get("", response_model=Page[DocumentRead], responses=STORAGE)
@requires("documents")
async def list_documents(query: DocumentList, request: Request, documents: Reader) -> Response:
    """A page of documents, each with a fresh signed URL for its file."""
    return page_response(request, await documents.page(query), cache=CACHE)


@router.get("/{id}/content", status_code=307, response_class=Response, responses=STORAGE)
@requires("documents")
async def read_document_content(id: Id, documents: Reader) -> Response:
    """Go to the file's bytes, by a fresh signed URL."""
    document = await documents.get(id)
    if document.file_url is None:
        raise NotFound("The document has no file")
    return RedirectResponse(document.file_url, headers={"Cache-Control": CACHE})


@router.post(
    "", status_code=201, response_model=DocumentRead, openapi_extra=CREATE_FORM, responses=STORAGE
)
@requires("documents")
async def create_document(form: Body, request: Request, documents: Writer) -> Response:
    """Add a document. The file is streamed: it may be of any size up to the limit."""
    async with receive_document_form(form, _files(request)) as received:
        identify_request = identify_callback(request)
        identify_request(received.content())
        document = await documents.create(received.to_create())
    return resource_response(request, document, cache=CACHE, location=f"/documents/{document.id}")


@router.patch("/{id}", response_model=DocumentRead, openapi_extra=UPDATE_FORM, responses=STORAGE)
@requires("documents")
async def update_document(
    id: Id, form: Body, versions: IfMatch, request: Request, documents: Writer
) -> Response:
    """Change the name, replace the file, or both."""
    # Errors are found before the form is read, so that no client uploads a file in vain.
    document = await documents.get(id, versions)
    async with receive_document_form(form, _files(request)) as received:
        if not received.is_empty:
            document = await documents.update(id, received.to_update(), versions)
    return resource_response(request, document, cache=CACHE)


@router.delete("/{id}", status_code=204)
@requires("documents")
async def delete_document(id: Id, versions: IfMatch, documents: Writer) -> None:
    """Remove a document and its file."""
    await documents.delete(id, versions)


@router.post("/{id}/uploads", status_code=201, response_model=DirectUpload, responses=STORAGE)
@requires("documents")
async def create_upload(id: Id, data: UploadCreate, uploads: Direct) -> Response:
    """Announce a file that goes to the store directly: PUT each part to its URL, then complete."""
    upload = await uploads.create(id, data)
    headers = {"Location": f"/documents/{id}/uploads/{upload.id}", "Cache-Control": CACHE}
    return json_response(upload, 201, headers)


@router.get("/{id}/uploads/{upload_id}", response_model=DirectUpload, responses=STORAGE)
@requires("documents")
async def read_upload(id: Id, upload_id: Id, uploads: Direct) -> Response:
    """Fresh URLs for an upload that is under way."""
    return json_response(await uploads.get(id, upload_id), 200, {"Cache-Control": CACHE})


@router.post(
    "/{id}/uploads/{upload_id}/complete",
    response_model=DocumentRead,
    responses=responses(Unavailable, Conflict),
)
@requires("documents")
async def complete_upload(id: Id, upload_id: Id, request: Request, uploads: Direct) -> Response:
    """Make the file that has arrived the document's."""
    document = await uploads.complete(id, upload_id)
    return resource_response(request, document, cache=CACHE)
