"""The rules of authors."""

from uuid_utils.compat import uuid7

from app.authors.repository import AuthorRepository
from app.authors.schemas import AuthorCreate, AuthorRead
from app.core.service import Service


class AuthorService(Service[AuthorRead]):
    """Authors."""

    repository = AuthorRepository

    async def create(self, data: AuthorCreate) -> AuthorRead:
        return await self.rows.create({"id": uuid7(), **data.model_dump()})
