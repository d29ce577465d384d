"""The rules of authors."""

from uuid import UUID

from app.authors.repository import AuthorRepository
from app.authors.schemas import AuthorCreate, AuthorRead
from app.core.models import new_id
from app.core.service import Service


class AuthorService(Service[UUID, AuthorRead]):
    """Authors."""

    repository = AuthorRepository

    async def create(self, data: AuthorCreate) -> AuthorRead:
        return await self.rows.create({"id": new_id(), **data.model_dump()})
