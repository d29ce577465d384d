"""The SQL of books."""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable
from uuid_utils.compat import uuid7

from app import NAME
from app.authors.models import Author
from app.books.models import Book
from app.books.schemas import BookLine, BookRead, Imported
from app.core.db import ListRepository, ListStatements, Repository, Select, Statements, equals

_author = Author.__table__.c


class BookRepository(Repository[BookRead]):
    """Reads and writes books. A book is read with its author (see `BookRead`)."""

    model, noun = BookRead, "Book"
    statements = Statements(Book, BookRead, filters={"author_id": equals(Book.author_id)})


class LineStatements(ListStatements):
    """Books by their authors' names and dates of birth."""

    other_fields = frozenset({"author", "dob"})

    def add_other_fields(self, query: Select, rows: sa.FromClause) -> Select:
        with_author = query.add_columns(_author.name.label("author"), _author.dob)
        return with_author.join(Author, _author.id == rows.c.author_id)


_STAGE: Final = sa.Table(
    "incoming_books",
    sa.MetaData(),
    sa.Column("author_id", sa.Uuid),
    sa.Column("author", sa.Text),
    sa.Column("dob", sa.Date),
    sa.Column("book_id", sa.Uuid),
    sa.Column("title", sa.Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
# Before the lock: to wait for another import takes as long as that does.
_PATIENT: Final = sa.select(
    *(sa.func.set_config(f"{what}_timeout", "0", sa.true()) for what in ("statement", "lock"))
)
# One import at a time, so that two of the same file find each other's books.
_ALONE: Final = sa.select(
    sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{NAME} import books", 0))
)
# An author is the same when name and date of birth are, the oldest where there are several; a
# book is when author and title are. Of what a file has twice the first line counts.
_MERGE: Final = sa.text("""
WITH given AS MATERIALIZED (
    SELECT author, dob, coalesce(known.id, author_id) AS id, known.id IS NULL AS is_new
    FROM (
        SELECT DISTINCT ON (author, dob) author, dob, author_id FROM incoming_books
        ORDER BY author, dob, author_id
    ) AS named LEFT JOIN LATERAL (
        SELECT id FROM authors WHERE name = author AND authors.dob IS NOT DISTINCT FROM named.dob
        ORDER BY created_at, id LIMIT 1
    ) AS known ON true
), new_author AS (
    INSERT INTO authors (id, name, dob) SELECT id, author, dob FROM given WHERE is_new ORDER BY id
    RETURNING id
), wanted AS (
    SELECT DISTINCT ON (given.id, title) book_id, title, given.id AS author_id
    FROM incoming_books AS line JOIN given ON given.author = line.author
    AND coalesce(given.dob, 'infinity') = coalesce(line.dob, 'infinity')
    ORDER BY given.id, title, book_id
), new_book AS (
    INSERT INTO books (id, title, author_id) SELECT book_id, title, author_id FROM wanted
    WHERE NOT EXISTS (
        SELECT FROM books WHERE books.author_id = wanted.author_id AND books.title = wanted.title
    ) ORDER BY book_id RETURNING id
)
SELECT (SELECT count(*) FROM new_author) AS authors, (SELECT count(*) FROM new_book) AS books
""")


class LineRepository(ListRepository[BookLine]):
    """Books in bulk, in a transaction: out by a cursor, in by COPY and one merge."""

    model = BookLine
    statements = LineStatements(Book, BookLine)

    def to_model(self, values: dict[str, Any]) -> BookLine:
        return self.model.model_construct(**values)

    async def add(self, lines: Iterable[BookLine]) -> Imported:
        """Add what is not there yet, with its authors."""
        session = self.transaction
        for statement in (_PATIENT, _ALONE):
            await session.execute(statement)
        await session.execute(CreateTable(_STAGE))
        records = ((uuid7(), line.author, line.dob, uuid7(), line.title) for line in lines)
        await session.copy(_STAGE, records)
        await session.execute(sa.text(f"ANALYZE {_STAGE.name}"))
        rows = await session.execute(_MERGE)
        return Imported.model_validate(dict(rows[0]))
