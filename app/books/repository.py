"""The SQL of books."""

from typing import Any
from uuid import UUID

from sqlalchemy import FromClause, Row, Select, bindparam, select

from app.authors.models import Author
from app.books.models import Book
from app.books.schemas import BookAuthor, BookRead
from app.core.errors import Invalid, InvalidRequest
from app.core.repository import Repository, Statements

_books, _authors = Book.__table__, Author.__table__


def _select_from(rows: FromClause) -> Select[Any]:
    return select(
        rows.c.id,
        rows.c.title,
        rows.c.author_id,
        rows.c.created_at,
        rows.c.updated_at,
        rows.c.version,
        _authors.c.name.label("author_name"),
        _authors.c.dob.label("author_dob"),
    ).join_from(rows, _authors, _authors.c.id == rows.c.author_id)


def _no_such_author() -> InvalidRequest:
    fault = Invalid(pointer="/author_id", code="author_not_found", detail="Names no author")
    return InvalidRequest(errors=[fault])


class BookRepository(Repository[UUID, BookRead]):
    """Reads and writes books, each with its author."""

    noun = "Book"
    statements = Statements(
        Book,
        _select_from,
        filters={
            "author_id": _books.c.author_id == bindparam("author_id", type_=_books.c.author_id.type)
        },
    )
    violations = {"fk_books_author_id_authors": _no_such_author}

    def read(self, row: Row[Any]) -> BookRead:
        return BookRead(
            id=row.id,
            title=row.title,
            author_id=row.author_id,
            author=BookAuthor(id=row.author_id, name=row.author_name, dob=row.author_dob),
            created_at=row.created_at,
            updated_at=row.updated_at,
            version=row.version,
        )
