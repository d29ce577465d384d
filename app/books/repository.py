"""The SQL of books."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable
from uuid_utils.compat import uuid7

from app import NAME
from app.authors.models import Author
from app.books.models import Book
from app.books.schemas import BookLine, BookRead, ExportedBookLine, ImportCounts
from app.core.db import (
    ListRepository,
    ListStatements,
    Repository,
    Row,
    Select,
    Statements,
    contains_words,
    equals,
)
from app.core.read_ahead import process_while_reading

_author_columns = Author.__table__.c


class BookRepository(Repository[BookRead]):
    """Reads and writes books. Every book that it returns contains its author."""

    model = BookRead
    noun = "Book"
    statements = Statements(
        Book,
        BookRead,
        filters={"q": contains_words(Book.title), "author_id": equals(Book.author_id)},
        leading_index_columns={"author_id": Book.__table__.c.author_id},
    )


class BookLineStatements(ListStatements):
    """Builds the SQL statements that export books, one row for each line of the exported file.

    The base class selects the title from the table `books`. This class adds the two fields of a
    line that come from the table `authors`, the name and the date of birth (`dob`) of the author:

        SELECT books.title, authors.name AS author, authors.dob
        FROM books JOIN authors ON authors.id = books.author_id
    """

    # The fields of a line that are not columns of `books`. `add_other_fields` selects them.
    other_fields = frozenset({"author", "dob"})

    def add_other_fields(self, query: Select, source: sa.FromClause) -> Select:
        """Add the author's name and date of birth to a query that selects books.

        The query reads from `source`, which is the table `books` or a subquery with its columns.
        """
        with_author = query.add_columns(_author_columns.name.label("author"), _author_columns.dob)
        return with_author.join(Author, _author_columns.id == source.c.author_id)


# One row for each line of a batch of an imported file. `new_id` is the id that the book gets if it
# does not exist yet. A new author gets the id of the first line that names them.
_STAGING_TABLE: Final = sa.Table(
    "incoming_books",
    sa.MetaData(),
    sa.Column("new_id", sa.Uuid),
    sa.Column("author", sa.Text),
    sa.Column("dob", sa.Date),
    sa.Column("title", sa.Text),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)
# The number of lines that are merged with one statement.
IMPORT_BATCH_SIZE: Final = 10_000
# An import waits for the lock until another import has finished, so its timeouts are disabled.
#
# The tables may be empty when an import begins. Postgres keeps the plans by which it checks foreign
# keys. If they read an empty table as a whole, they become slow while the import fills the table.
_CONFIGURE_TRANSACTION: Final = sa.select(
    sa.func.set_config("statement_timeout", "0", sa.true()),
    sa.func.set_config("lock_timeout", "0", sa.true()),
    sa.func.set_config("enable_seqscan", "off", sa.true()),
)
# Only one import runs at a time. Otherwise two imports of the same file would not see each other's
# books, and both would add them.
_LOCK_IMPORTS: Final = sa.select(
    sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{NAME} import books", 0))
)
_FIND_ID: Final = sa.union_all(
    sa.select(Author.id).where(Author.id == sa.bindparam("id")),
    sa.select(Book.id).where(Book.id == sa.bindparam("id")),
)
# Adds the authors and books of `incoming_books` that do not exist yet. Returns the number of added
# authors and books.
#
# An author exists if an author has the same name and date of birth. If several do, the one created
# first is used. A book exists if a book has the same author and title. If a file repeats an author
# or a book, the first of these lines is used. It has the lowest id, because the import generates
# ascending ids in the order of the lines.
#
# The comparisons of sort keys only serve to use the indexes on them. `OFFSET 0` makes Postgres look
# up one book after the other in this index, and only books of authors who existed before. Otherwise
# it could read the whole table for each batch.
#
# 'infinity' replaces an unknown date of birth in the join, because NULL = NULL is not true.
_MERGE_INCOMING_BOOKS: Final = sa.text("""
WITH line_author AS MATERIALIZED (
    SELECT author, dob, coalesce(existing.id, new_id) AS id, existing.id IS NULL AS is_new
    FROM (
        SELECT DISTINCT ON (author, dob) author, dob, new_id FROM incoming_books
        ORDER BY author, dob, new_id
    ) AS first_line LEFT JOIN LATERAL (
        SELECT id FROM authors
        WHERE text_sort_key(name COLLATE "C") = text_sort_key(author COLLATE "C")
            AND name = author AND authors.dob IS NOT DISTINCT FROM first_line.dob
        ORDER BY created_at, id LIMIT 1
    ) AS existing ON true
), new_author AS (
    INSERT INTO authors (id, name, dob)
    SELECT id, author, dob FROM line_author WHERE is_new ORDER BY id
    RETURNING id
), line_book AS (
    SELECT DISTINCT ON (line_author.id, title)
        new_id, title, line_author.id AS author_id, line_author.is_new AS is_author_new
    FROM incoming_books AS line JOIN line_author ON line_author.author = line.author
    AND coalesce(line_author.dob, 'infinity') = coalesce(line.dob, 'infinity')
    ORDER BY line_author.id, title, new_id
), new_book AS (
    INSERT INTO books (id, title, author_id) SELECT new_id, title, author_id FROM line_book
    WHERE is_author_new OR NOT EXISTS (
        SELECT FROM books
        WHERE books.author_id = line_book.author_id AND books.title = line_book.title
            AND text_sort_key(books.title COLLATE "C") = text_sort_key(line_book.title COLLATE "C")
        OFFSET 0
    ) ORDER BY new_id RETURNING id
)
SELECT (SELECT count(*) FROM new_author) AS authors, (SELECT count(*) FROM new_book) AS books
""")


class BookLineRepository(ListRepository[ExportedBookLine]):
    """Imports and exports books as lines of a file. The session has to be a transaction.

    The inherited method `stream` exports all books, with a cursor of the database.
    """

    model = ExportedBookLine
    statements = BookLineStatements(Book, ExportedBookLine)

    async def import_lines(
        self, lines: Iterable[BookLine], *, first_id: UUID | None = None
    ) -> ImportCounts:
        """Add the books that do not exist yet, and their authors. Return how many were added.

        While Postgres adds one batch of lines, the next one is read. Only one import runs at a
        time. Another one waits until the first has ended.

        Args:
            lines: The books.
            first_id: The id of the first book and of its author, if they are new and no other book
                or author has it.
        """
        session = self.transaction
        await session.execute(_CONFIGURE_TRANSACTION)
        await session.execute(_LOCK_IMPORTS)
        await session.execute(CreateTable(_STAGING_TABLE))
        new_ids = iter(uuid7, None)
        if first_id is not None and not await self._is_used(first_id):
            new_ids = chain([first_id], new_ids)
        staging_rows = (
            (new_id, line.author, line.dob, line.title)
            for line, new_id in zip(lines, new_ids, strict=False)
        )
        added = ImportCounts(authors=0, books=0)
        async for counts in process_while_reading(
            staging_rows, self._send_rows, self._merge_rows, batch_size=IMPORT_BATCH_SIZE
        ):
            added.authors += counts["authors"]
            added.books += counts["books"]
        return added

    async def _send_rows(self, staging_rows: list[tuple[Any, ...]]) -> None:
        """Replace the rows of the staging table."""
        await self.transaction.execute(sa.text(f"TRUNCATE {_STAGING_TABLE.name}"))
        await self.transaction.copy_records(_STAGING_TABLE, staging_rows)

    async def _merge_rows(self) -> Row:
        """Add the new authors and books of the staging table. Return their numbers."""
        # Without statistics of the new rows, Postgres would plan the merge badly.
        await self.transaction.execute(sa.text(f"ANALYZE {_STAGING_TABLE.name}"))
        [counts] = await self.transaction.execute(_MERGE_INCOMING_BOOKS)
        return counts

    async def _is_used(self, id: UUID) -> bool:
        """Return whether a book or an author has an id."""
        rows = await self.transaction.execute(_FIND_ID, {"id": id})
        return len(rows) > 0
