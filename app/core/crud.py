"""The service of a plain entity: create, read, update, delete and list its rows."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Generic, TypeVar

from app.core.db import Repository, Session
from app.core.paging import Page, PageQuery
from app.core.schemas import ReadModel, RequestModel, UpdateModel

Read = TypeVar("Read", bound=ReadModel)
Create = TypeVar("Create", bound=RequestModel)
Update = TypeVar("Update", bound=UpdateModel)


class CrudService(Generic[Read, Create, Update]):
    """Base class of services whose operations need no rules beyond those of the database.

        class AuthorService(CrudService[AuthorRead, AuthorCreate, AuthorUpdate]):
            repository_class = AuthorRepository

    Every field of the create and update models has to be a column of the table. A service with
    other rules overrides methods, or is written without this class, as `BookService` is.

    `expected_versions` are the versions that an `If-Match` header allows; `None` allows every
    version.
    """

    repository_class: ClassVar[type[Repository[Any]]]

    def __init__(self, session: Session) -> None:
        self.session = session
        self.repository: Repository[Read] = self.repository_class(session)

    async def get(self, id: Any) -> Read:
        """Read one row. Raises `NotFound`."""
        return await self.repository.get(id)

    async def page(self, query: PageQuery) -> Page[Read]:
        """Read one page of the rows that match the query."""
        return await self.repository.page(query)

    def stream(self, query: PageQuery) -> AsyncIterator[list[Read]]:
        """Read all rows that match the query, in batches. Needs a transaction."""
        return self.repository.stream(query)

    async def create(self, data: Create) -> Read:
        """Add one row. Raises the error of a constraint that it violates."""
        return await self.repository.create(data.model_dump())

    async def update(
        self, id: Any, data: Update, expected_versions: list[str] | None = None
    ) -> Read:
        """Change the fields that were sent. If none was sent, not even the version changes.

        Raises `NotFound`, `PreconditionFailed` or the error of a constraint that it violates.
        """
        changes = data.model_dump(exclude_unset=True)
        if not changes:
            return await self.repository.get(id, expected_versions)
        return await self.repository.update(id, changes, expected_versions)

    async def delete(self, id: Any, expected_versions: list[str] | None = None) -> None:
        """Delete one row.

        Raises `NotFound`, `PreconditionFailed`, or `Conflict` if other rows refer to it.
        """
        await self.repository.delete(id, expected_versions)
