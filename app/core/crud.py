"""Base class of services that create, read, update, delete and list the rows of one entity."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Generic, TypeVar

from app.core.db import Repository, Session
from app.core.deletions import DeletedCount, Deletion
from app.core.paging import Page, PageQuery
from app.core.preconditions import ANY_VERSION, Precondition
from app.core.schemas import ReadModel, RequestModel, UpdateModel

ReadModelT = TypeVar("ReadModelT", bound=ReadModel)
CreateModelT = TypeVar("CreateModelT", bound=RequestModel)
UpdateModelT = TypeVar("UpdateModelT", bound=UpdateModel)


class CrudService(Generic[ReadModelT, CreateModelT, UpdateModelT]):
    """Base class of services whose only rules are the constraints of the database.

        class AuthorService(CrudService[AuthorRead, AuthorCreate, AuthorUpdate]):
            repository_class = AuthorRepository

    Every field of the create and update models has to be a column of the table. A service with
    more rules overrides methods, or is written without this class, like `BookService`.

    A precondition says which versions of a row the client allows a method to change or delete.
    """

    repository_class: ClassVar[type[Repository[Any]]]

    def __init__(self, session: Session) -> None:
        self.session = session
        self.repository: Repository[ReadModelT] = self.repository_class(session)

    async def get(self, id: Any) -> ReadModelT:
        """Return a row by its id. Raises `NotFound` if it does not exist."""
        return await self.repository.get(id)

    async def page(self, query: PageQuery) -> Page[ReadModelT]:
        """Return one page of the rows that match the query parameters."""
        return await self.repository.page(query)

    def stream(self, query: PageQuery) -> AsyncIterator[list[ReadModelT]]:
        """Yield all rows that match the query parameters, in batches.

        The session has to be a `TransactionSession`, because a cursor of the database exists only
        within a transaction.
        """
        return self.repository.stream(query)

    async def create(self, new_row: CreateModelT) -> ReadModelT:
        """Insert a row and return it.

        Raises the `ServiceError` for a violated constraint, for example `Conflict` if the row is
        not unique.
        """
        return await self.repository.create(new_row.model_dump())

    async def update(
        self, id: Any, changed_fields: UpdateModelT, precondition: Precondition = ANY_VERSION
    ) -> ReadModelT:
        """Change the fields that the client sent, and return the changed row.

        If the client sent none, returns the row unchanged, with the same version.

        Raises `NotFound` if the row does not exist, `PreconditionFailed` if the precondition does
        not allow its version, or the `ServiceError` for a constraint that the change violates.
        """
        new_values = changed_fields.model_dump(exclude_unset=True)
        if not new_values:
            return await self.repository.get(id, precondition)
        return await self.repository.update(id, new_values, precondition)

    async def delete(self, id: Any, precondition: Precondition = ANY_VERSION) -> None:
        """Delete a row.

        Raises `NotFound` if the row does not exist, `PreconditionFailed` if the precondition does
        not allow its version, or `Conflict` if other rows refer to it.
        """
        await self.repository.delete(id, precondition)

    async def delete_many(self, deletion: Deletion) -> DeletedCount:
        """Delete the rows with these ids, or none of them if one cannot be deleted.

        Raises `InvalidRequest` with a pointer such as `/ids/3` to each unknown or repeated id, and
        `Conflict` if other rows refer to one of the rows.
        """
        await self.repository.delete_many(deletion.ids)
        return DeletedCount(deleted=len(deletion.ids))
