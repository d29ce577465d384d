"""Books over HTTP."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from app.books.schemas import (
    AuthorBookQuery,
    BookBatch,
    BookCreate,
    BookQuery,
    BookRead,
    Books,
    BookUpdate,
)
from app.books.service import BookService
from app.core import streams
from app.core.access import requires
from app.core.conditional import CACHE, IfMatch, answer, many, one
from app.core.database import ReadSession, WriteSession
from app.core.pagination import Page
from app.core.routing import Route
from app.core.schemas import Id

router = APIRouter(tags=["books"], route_class=Route)
LINES: Final = streams.documented(BookRead)
BookList = Annotated[BookQuery, Depends(BookQuery.of)]
AuthorBookList = Annotated[AuthorBookQuery, Depends(AuthorBookQuery.of)]


@router.get("/books/{id}", response_model=BookRead)
@requires("catalogue:read")
async def read_book(id: Id, request: Request, session: ReadSession) -> Response:
    """One book with its author."""
    return one(request, await BookService(session).get(id))


@router.get("/books", response_model=Page[BookRead], responses=LINES)
@requires("catalogue:read")
async def list_books(query: BookList, request: Request, session: ReadSession) -> Response:
    """A page of books; with another `Accept` all of them, streamed."""
    if media_type := streams.preferred(request):
        return await streams.lines(request, media_type, query, BookService)
    return many(request, await BookService(session).page(query), vary="Accept")


@router.post("/books", status_code=201, response_model=BookRead)
@requires("catalogue:write")
async def create_book(data: BookCreate, request: Request, session: WriteSession) -> Response:
    """Add a book by an existing author."""
    book = await BookService(session).create(data)
    return one(request, book, created=f"/books/{book.id}")


@router.post("/books/batch", status_code=201, response_model=Books)
@requires("catalogue:write")
async def create_books(data: BookBatch, session: WriteSession) -> Response:
    """Add up to 1000 books, all of them or none."""
    return answer(await BookService(session).create_many(data), 201, {"Cache-Control": CACHE})


@router.patch("/books/{id}", response_model=BookRead)
@requires("catalogue:write")
async def update_book(
    id: Id, data: BookUpdate, versions: IfMatch, request: Request, session: WriteSession
) -> Response:
    """Change the fields that are sent (RFC 7396)."""
    return one(request, await BookService(session).update(id, data, versions))


@router.delete("/books/{id}", status_code=204)
@requires("catalogue:write")
async def delete_book(id: Id, versions: IfMatch, session: WriteSession) -> None:
    """Remove a book."""
    await BookService(session).delete(id, versions)


@router.get("/authors/{id}/books", response_model=Page[BookRead])
@requires("catalogue:read")
async def list_author_books(
    id: Id, query: AuthorBookList, request: Request, session: ReadSession
) -> Response:
    """A page of one author's books."""
    return many(request, await BookService(session).page_of_author(id, query))
