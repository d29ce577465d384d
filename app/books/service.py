"""The rules of books."""

from uuid import UUID

from uuid_utils.compat import uuid7

from app.authors.service import AuthorService
from app.books.repository import BookRepository
from app.books.schemas import AuthorBookQuery, BookCreate, BookRead
from app.core.pagination import Page
from app.core.service import Service


class BookService(Service[BookRead]):
    """Books."""

    repository = BookRepository

    async def create(self, data: BookCreate) -> BookRead:
        return await self.rows.create({"id": uuid7(), **data.model_dump()})

    async def page_of_author(self, author_id: UUID, query: AuthorBookQuery) -> Page[BookRead]:
        """An author's books. Where there are none, the author must at least exist."""
        page = await self.rows.page(query, author_id=author_id)
        counted = page.total and query.count != "estimated"
        if not page.items and not counted:
            await AuthorService(self.rows.session).get(author_id)
        return page
