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

    model = BookRead
    noun = "Book"
    statements = Statements(Book, BookRead, filters={"author_id": equals(Book.author_id)})


class LineStatements(ListStatements):
    """Lists books as lines of a file, with the author's name and date of birth."""

    other_fields = frozenset({"author", "dob"})

    def add_other_fields(self, query: Select, rows: sa.FromClause) -> Select:
        with_author = query.add_columns(_author.name.label("author"), _author.dob)
        return with_author.join(Author, _author.id == rows.c.author_id)


_STAGING_TABLE: Final = sa.Table(
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
# Waiting for the lock takes as long as another import does, so the timeouts are disabled first.
_DISABLE_TIMEOUTS: Final = sa.select(
    sa.func.set_config("statement_timeout", "0", sa.true()),
    sa.func.set_config("lock_timeout", "0", sa.true()),
)
# Only one import runs at a time. Otherwise two imports of the same file would not see each other's
# books, and both would add them.
_LOCK_IMPORTS: Final = sa.select(
    sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{NAME} import books", 0))
)
# Adds the authors and books of `incoming_books` that do not exist yet. An author exists if name and
# date of birth are equal; if there are several, the oldest is used. A book exists if author and
# title are equal. If a file repeats an author or a book, the first line counts: its generated ids
# are the lowest.
_MERGE: Final = sa.text("""
WITH line_author AS MATERIALIZED (
    SELECT author, dob, coalesce(existing.id, author_id) AS id, existing.id IS NULL AS is_new
    FROM (
        SELECT DISTINCT ON (author, dob) author, dob, author_id FROM incoming_books
        ORDER BY author, dob, author_id
    ) AS first_line LEFT JOIN LATERAL (
        SELECT id FROM authors
        WHERE name = author AND authors.dob IS NOT DISTINCT FROM first_line.dob
        ORDER BY created_at, id LIMIT 1
    ) AS existing ON true
), new_author AS (
    INSERT INTO authors (id, name, dob)
    SELECT id, author, dob FROM line_author WHERE is_new ORDER BY id
    RETURNING id
), line_book AS (
    SELECT DISTINCT ON (line_author.id, title) book_id, title, line_author.id AS author_id
    FROM incoming_books AS line JOIN line_author ON line_author.author = line.author
    AND coalesce(line_author.dob, 'infinity') = coalesce(line.dob, 'infinity')
    ORDER BY line_author.id, title, book_id
), new_book AS (
    INSERT INTO books (id, title, author_id) SELECT book_id, title, author_id FROM line_book
    WHERE NOT EXISTS (
        SELECT FROM books
        WHERE books.author_id = line_book.author_id AND books.title = line_book.title
    ) ORDER BY book_id RETURNING id
)
SELECT (SELECT count(*) FROM new_author) AS authors, (SELECT count(*) FROM new_book) AS books
""")


class LineRepository(ListRepository[BookLine]):
    """Imports and exports books as lines of a file. Needs a transaction.

    The export reads through a cursor. The import copies all lines to a temporary table and merges
    them with one statement.
    """

    model = BookLine
    statements = LineStatements(Book, BookLine)

    def to_model(self, values: dict[str, Any]) -> BookLine:
        """Create the line without validation, because the rows come from the database."""
        return self.model.model_construct(**values)

    async def add(self, lines: Iterable[BookLine]) -> Imported:
        """Add the books that do not exist yet, and their authors. Return how many were added."""
        session = self.transaction
        await session.execute(_DISABLE_TIMEOUTS)
        await session.execute(_LOCK_IMPORTS)
        await session.execute(CreateTable(_STAGING_TABLE))
        records = ((uuid7(), line.author, line.dob, uuid7(), line.title) for line in lines)
        await session.copy(_STAGING_TABLE, records)
        await session.execute(sa.text(f"ANALYZE {_STAGING_TABLE.name}"))
        rows = await session.execute(_MERGE)
        return Imported.model_validate(dict(rows[0]))
