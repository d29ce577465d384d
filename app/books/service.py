"""The rules of books."""

from collections.abc import AsyncIterator, Iterable
from uuid import UUID

from uuid_utils.compat import uuid7

from app.authors.service import AuthorService
from app.books.repository import BookRepository, LineRepository, NoSuchAuthor
from app.books.schemas import (
    AuthorBookQuery,
    BookBatch,
    BookCreate,
    BookLine,
    BookRead,
    Books,
    Imported,
)
from app.core.errors import Conflict, pointer
from app.core.pagination import Page, PageQuery
from app.core.service import Service


class BookService(Service[BookRead]):
    """Books."""

    repository = BookRepository

    async def create(self, data: BookCreate) -> BookRead:
        return await self.rows.create({"id": uuid7(), **data.model_dump()})

    async def create_many(self, data: BookBatch) -> Books:
        """Add all of them or none; 422 names those whose author there is not."""
        ids = sorted(uuid7() for _ in data.items)
        rows = [{"id": key, **item.model_dump()} for key, item in zip(ids, data.items, strict=True)]
        try:
            async with self.rows.session.savepoint():
                return Books(items=await self.rows.create_many(rows))
        except NoSuchAuthor as error:
            known = await AuthorService(self.rows.session).present([r["author_id"] for r in rows])
            missing = [n for n, row in enumerate(rows) if row["author_id"] not in known]
            if not missing:  # they are there by now
                raise Conflict from error
            raise NoSuchAuthor(*(pointer("items", place) for place in missing)) from error

    async def add_lines(self, lines: Iterable[BookLine]) -> Imported:
        """Add the books that are not there yet, and their authors."""
        return await LineRepository(self.rows.session).add(lines)

    def all_lines(self) -> AsyncIterator[list[BookLine]]:
        """Every book as a line of a file, the oldest first."""
        return LineRepository(self.rows.session).all(PageQuery())

    async def page_of_author(self, author_id: UUID, query: AuthorBookQuery) -> Page[BookRead]:
        """An author's books. Where there are none, the author must at least exist."""
        page = await self.rows.page(query, author_id=author_id)
        counted = page.total and query.count != "estimated"
        if not page.items and not counted:
            await AuthorService(self.rows.session).get(author_id)
        return page
