"""Books over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.books.schemas import AuthorBookQuery, BookCreate, BookQuery, BookRead, BookUpdate
from app.books.service import BookService
from app.core.conditional import IfMatch, many, one
from app.core.database import ReadSession, WriteSession
from app.core.pagination import Page
from app.core.routing import Route
from app.core.schemas import Id

router = APIRouter(tags=["books"], route_class=Route)
BookList = Annotated[BookQuery, Depends(BookQuery.of)]
AuthorBookList = Annotated[AuthorBookQuery, Depends(AuthorBookQuery.of)]


@router.get("/books/{id}", response_model=BookRead)
async def read_book(id: Id, request: Request, session: ReadSession) -> Response:
    """One book with its author."""
    return one(request, await BookService(session).get(id))


@router.get("/books", response_model=Page[BookRead])
async def list_books(query: BookList, request: Request, session: ReadSession) -> Response:
    """A page of books."""
    return many(request, await BookService(session).page(query))


@router.post("/books", status_code=201, response_model=BookRead)
async def create_book(data: BookCreate, request: Request, session: WriteSession) -> Response:
    """Add a book by an existing author."""
    book = await BookService(session).create(data)
    return one(request, book, created=f"/books/{book.id}")


@router.patch("/books/{id}", response_model=BookRead)
async def update_book(
    id: Id, data: BookUpdate, versions: IfMatch, request: Request, session: WriteSession
) -> Response:
    """Change the fields that are sent (RFC 7396)."""
    return one(request, await BookService(session).update(id, data, versions))


@router.delete("/books/{id}", status_code=204)
async def delete_book(id: Id, versions: IfMatch, session: WriteSession) -> None:
    """Remove a book."""
    await BookService(session).delete(id, versions)


@router.get("/authors/{id}/books", response_model=Page[BookRead])
async def list_author_books(
    id: Id, query: AuthorBookList, request: Request, session: ReadSession
) -> Response:
    """A page of one author's books."""
    return many(request, await BookService(session).page_of_author(id, query))
