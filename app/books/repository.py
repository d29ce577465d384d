"""The SQL of books."""

from typing import Any

import sqlalchemy as sa

from app.authors.models import Author
from app.books.models import Book
from app.books.schemas import BookRead
from app.core.errors import Fault, InvalidRequest
from app.core.listing import Select
from app.core.repository import Repository
from app.core.statements import Statements

_author, _author_id = Author.__table__.c, Book.__table__.c.author_id
_by_author = _author_id == sa.bindparam("author_id", type_=_author_id.type)


class BookStatements(Statements):
    """Books are read with their author, in one join."""

    def select_from(self, rows: sa.FromClause) -> Select:
        own = (rows.c[name] for name in BookRead.model_fields if name != "author")
        joined = (_author.name.label("author_name"), _author.dob.label("author_dob"))
        return sa.select(*own, *joined).join_from(rows, Author, _author.id == rows.c.author_id)


class NoSuchAuthor(InvalidRequest):
    """The books at these places of the body are by nobody."""

    type = InvalidRequest.type

    def __init__(self, *places: str) -> None:
        about = {"code": "author_not_found", "detail": "There is no author with this id"}
        super().__init__(
            *(Fault(pointer=f"{place}/author_id", **about) for place in places or [""])
        )


class BookRepository(Repository[BookRead]):
    """Reads and writes books."""

    model, noun = BookRead, "Book"
    statements = BookStatements(Book, BookRead, filters={"author_id": _by_author})
    violations = {"fk_books_author_id_authors": NoSuchAuthor}

    def read(self, row: sa.Row[Any]) -> BookRead:
        author = {"id": row.author_id, "name": row.author_name, "dob": row.author_dob}
        return BookRead(**dict(zip(row._fields, row, strict=True)), author=author)
