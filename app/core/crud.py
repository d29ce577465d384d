"""Base class of services that create, read, update, delete and list the rows of one entity."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Generic, TypeVar

from app.core.db import Repository, Session
from app.core.paging import Page, PageQuery
from app.core.schemas import ReadModel, RequestModel, UpdateModel

ReadModelT = TypeVar("ReadModelT", bound=ReadModel)
CreateModelT = TypeVar("CreateModelT", bound=RequestModel)
UpdateModelT = TypeVar("UpdateModelT", bound=UpdateModel)


class CrudService(Generic[ReadModelT, CreateModelT, UpdateModelT]):
    """Base class of services that need no rules beyond the constraints of the database.

        class AuthorService(CrudService[AuthorRead, AuthorCreate, AuthorUpdate]):
            repository_class = AuthorRepository

    Every field of the create and update models has to be a column of the table. A service with
    more rules overrides methods, or does not use this class, like `BookService`.

    `expected_versions` are the versions of the row that an `If-Match` header allows. With None, the
    row may have any version.
    """

    repository_class: ClassVar[type[Repository[Any]]]

    def __init__(self, session: Session) -> None:
        self.session = session
        self.repository: Repository[ReadModelT] = self.repository_class(session)

    async def get(self, id: Any) -> ReadModelT:
        """Read one row. Raises `NotFound` if it does not exist."""
        return await self.repository.get(id)

    async def page(self, query: PageQuery) -> Page[ReadModelT]:
        """Read one page of the rows that match the query."""
        return await self.repository.page(query)

    def stream(self, query: PageQuery) -> AsyncIterator[list[ReadModelT]]:
        """Read all rows that match the query, in batches.

        The session has to be a transaction, because the rows are read through a cursor.
        """
        return self.repository.stream(query)

    async def create(self, data: CreateModelT) -> ReadModelT:
        """Insert one row. Raises the error for a constraint that it violates."""
        return await self.repository.create(data.model_dump())

    async def update(
        self, id: Any, data: UpdateModelT, expected_versions: list[str] | None = None
    ) -> ReadModelT:
        """Change the fields that the client sent. Without any, the version does not change either.

        Raises `NotFound`, `PreconditionFailed` if the row has another version, or the error for a
        constraint that the change violates.
        """
        changes = data.model_dump(exclude_unset=True)
        if not changes:
            return await self.repository.get(id, expected_versions)
        return await self.repository.update(id, changes, expected_versions)

    async def delete(self, id: Any, expected_versions: list[str] | None = None) -> None:
        """Delete one row.

        Raises `NotFound`, `PreconditionFailed` if the row has another version, or `Conflict` if
        other rows refer to it.
        """
        await self.repository.delete(id, expected_versions)
