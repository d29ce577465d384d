"""Authors over HTTP."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from app.authors.errors import AuthorHasBooks
from app.authors.schemas import AuthorCreate, AuthorQuery, AuthorRead, AuthorUpdate
from app.authors.service import AuthorService
from app.core.http import (
    IfMatch,
    ReadSession,
    Route,
    WriteSession,
    page_response,
    preferred_stream_type,
    requires,
    resource_response,
    responses,
    stream_list,
    stream_responses,
)
from app.core.paging import Page
from app.core.schemas import Id

router = APIRouter(prefix="/authors", tags=["authors"], route_class=Route)
LINES: Final = stream_responses(AuthorRead)
AuthorList = Annotated[AuthorQuery, Depends(AuthorQuery.of)]


@router.get("/{id}", response_model=AuthorRead)
@requires("catalogue:read")
async def read_author(id: Id, request: Request, session: ReadSession) -> Response:
    """One author."""
    return resource_response(request, await AuthorService(session).get(id))


@router.get("", response_model=Page[AuthorRead], responses=LINES)
@requires("catalogue:read")
async def list_authors(query: AuthorList, request: Request, session: ReadSession) -> Response:
    """A page of authors; with another `Accept` all of them, streamed."""
    if media_type := preferred_stream_type(request):
        return await stream_list(request, media_type, query, AuthorRead, AuthorService)
    return page_response(request, await AuthorService(session).page(query), vary="Accept")


@router.post("", status_code=201, response_model=AuthorRead)
@requires("catalogue:write")
async def create_author(data: AuthorCreate, request: Request, session: WriteSession) -> Response:
    """Add an author."""
    author = await AuthorService(session).create(data)
    return resource_response(request, author, location=f"/authors/{author.id}")


@router.patch("/{id}", response_model=AuthorRead)
@requires("catalogue:write")
async def update_author(
    id: Id, data: AuthorUpdate, versions: IfMatch, request: Request, session: WriteSession
) -> Response:
    """Change the fields that are sent (RFC 7396)."""
    return resource_response(request, await AuthorService(session).update(id, data, versions))


@router.delete("/{id}", status_code=204, responses=responses(AuthorHasBooks))
@requires("catalogue:write")
async def delete_author(id: Id, versions: IfMatch, session: WriteSession) -> None:
    """Remove an author to whom no book refers."""
    await AuthorService(session).delete(id, versions)
