"""The SQL of authors."""

from typing import Any
from uuid import UUID

from sqlalchemy import FromClause, Row, Select, select

from app.authors.models import UNKNOWN_DOB, Author
from app.authors.schemas import AuthorRead
from app.core.errors import AuthorHasBooks
from app.core.repository import Repository, Statements


def _select_from(rows: FromClause) -> Select[Any]:
    columns = rows.c
    return select(
        columns.id,
        columns.name,
        columns.dob,
        columns.created_at,
        columns.updated_at,
        columns.version,
    )


class AuthorRepository(Repository[UUID, AuthorRead]):
    """Reads and writes authors."""

    noun = "Author"
    statements = Statements(Author, _select_from, nulls={"dob": UNKNOWN_DOB})
    violations = {"fk_books_author_id_authors": AuthorHasBooks}

    def read(self, row: Row[Any]) -> AuthorRead:
        return AuthorRead.model_validate(row)
