"""Manage authors."""

from collections.abc import Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from app.authors.repository import AuthorRepository
from app.authors.schemas import AuthorCreate, AuthorRead
from app.core.service import Service


class AuthorService(Service[AuthorRead]):
    """Operations on authors."""

    repository_class = AuthorRepository

    async def create(self, data: AuthorCreate) -> AuthorRead:
        return await self.repository.create({"id": uuid7(), **data.model_dump()})

    async def existing_ids(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return those of the ids that belong to an author."""
        return await self.repository.existing_ids(ids)
