"""HTTP endpoints of authors. Their docstrings are their descriptions in the OpenAPI document."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request, Response

from app.authors.errors import AuthorHasBooks
from app.authors.schemas import AuthorCreate, AuthorId, AuthorQuery, AuthorRead, AuthorUpdate
from app.authors.service import AuthorService
from app.core.http import (
    IfMatch,
    RequestSession,
    Router,
    preferred_stream_type,
    set_etag,
    set_location,
    set_page_links,
    stream_list,
    stream_responses,
)
from app.core.paging import Page

STREAM_RESPONSES: Final = stream_responses(AuthorRead)

router = Router(prefix="/authors", tags=["authors"])


async def _author_service(session: RequestSession) -> AuthorService:
    return AuthorService(session)


Authors = Annotated[AuthorService, Depends(_author_service)]


@router.get("/{id}", permission="catalogue:read")
async def read_author(id: AuthorId, authors: Authors, response: Response) -> AuthorRead:
    """One author."""
    author = await authors.get(id)
    set_etag(response, author)
    return author


@router.get(
    "", permission="catalogue:read", response_model=Page[AuthorRead], responses=STREAM_RESPONSES
)
async def list_authors(
    query: Annotated[AuthorQuery, Query()], authors: Authors, request: Request, response: Response
) -> Page[AuthorRead] | Response:
    """A page of authors; with another `Accept` all of them, streamed."""
    stream_type = preferred_stream_type(request)
    if stream_type is not None:
        return await stream_list(request, stream_type, query, AuthorRead, AuthorService)
    page = await authors.page(query)
    set_page_links(request, response, page)
    response.headers["Vary"] = "Accept"
    return page


@router.post("", permission="catalogue:write", status_code=201)
async def create_author(data: AuthorCreate, authors: Authors, response: Response) -> AuthorRead:
    """Add an author."""
    author = await authors.create(data)
    set_etag(response, author)
    set_location(response, f"/authors/{author.id}")
    return author


@router.patch("/{id}", permission="catalogue:write")
async def update_author(
    id: AuthorId, data: AuthorUpdate, authors: Authors, if_match: IfMatch, response: Response
) -> AuthorRead:
    """Change the fields that are sent (RFC 7396)."""
    author = await authors.update(id, data, if_match)
    set_etag(response, author)
    return author


@router.delete("/{id}", permission="catalogue:write", errors=[AuthorHasBooks])
async def delete_author(id: AuthorId, authors: Authors, if_match: IfMatch) -> None:
    """Remove an author to whom no book refers."""
    await authors.delete(id, if_match)
