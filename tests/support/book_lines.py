"""Import and export books as lines of a file, with `BookService`."""

from collections.abc import Iterable
from uuid import UUID

from app.books.schemas import BookLine, ImportCounts
from app.books.service import BookService
from app.core.db import Database


def book_line(author: str, title: str, dob: str | None = None) -> BookLine:
    """Return a line with an author's name, a title and the author's date of birth (`dob`)."""
    return BookLine.model_validate({"author": author, "title": title, "dob": dob})


LE_GUIN = book_line("Ursula K. Le Guin", "The Dispossessed", "1929-10-21")


async def import_lines(
    database: Database, lines: Iterable[BookLine], *, first_id: UUID | None = None
) -> tuple[int, int]:
    """Import lines in a transaction. Return the number of added authors and of added books."""
    async with database.transaction() as session:
        counts = await BookService(session).import_lines(lines, first_id=first_id)
    assert isinstance(counts, ImportCounts)
    return counts.authors, counts.books


async def export_lines(database: Database) -> list[BookLine]:
    """Read all books as lines."""
    async with database.transaction() as session:
        batches = BookService(session).export_lines()
        exported_lines = [line async for lines in batches for line in lines]
    return [BookLine.model_validate(line.model_dump(mode="json")) for line in exported_lines]
