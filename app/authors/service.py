"""Manage authors."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from app.authors.repository import AuthorRepository
from app.authors.schemas import AuthorCreate, AuthorRead, AuthorUpdate
from app.core.db import Session
from app.core.paging import ListQuery, Page


class AuthorService:
    """Operations on authors, for HTTP and the command line.

    `expected_versions` are the versions that an `If-Match` header allows; `None` allows every
    version.
    """

    def __init__(self, session: Session) -> None:
        self._authors = AuthorRepository(session)

    async def get(self, id: UUID) -> AuthorRead:
        """Read one author. Raises `NotFound`."""
        return await self._authors.get(id)

    async def page(self, query: ListQuery) -> Page[AuthorRead]:
        """Read one page of the authors that match the query."""
        return await self._authors.page(query)

    def stream(self, query: ListQuery) -> AsyncIterator[list[AuthorRead]]:
        """Read all authors that match the query, in batches. Needs a transaction."""
        return self._authors.stream(query)

    async def existing_ids(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return those of the ids that belong to an author."""
        return await self._authors.existing_ids(ids)

    async def create(self, data: AuthorCreate) -> AuthorRead:
        """Add one author."""
        return await self._authors.create({"id": uuid7(), **data.model_dump()})

    async def update(
        self, id: UUID, data: AuthorUpdate, expected_versions: list[int] | None = None
    ) -> AuthorRead:
        """Change the fields that were sent. If none was sent, not even the version changes.

        Raises `NotFound` or `PreconditionFailed`.
        """
        changes = data.model_dump(exclude_unset=True)
        if not changes:
            return await self._authors.get(id, expected_versions)
        return await self._authors.update(id, changes, expected_versions)

    async def delete(self, id: UUID, expected_versions: list[int] | None = None) -> None:
        """Delete an author. Raises `NotFound`, `PreconditionFailed` or `AuthorHasBooks`."""
        await self._authors.delete(id, expected_versions)
