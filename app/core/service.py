"""Base service: the operations that most entities share, for HTTP, jobs and the command line."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Generic, TypeVar

from app.core.db import Parameters, Repository, Session
from app.core.paging import ListQuery, Page
from app.core.schemas import ReadModel, RequestModel

Read = TypeVar("Read", bound=ReadModel)


class Service(Generic[Read]):
    """Reads and writes one entity. A subclass overrides what its entity does differently.

    `scope` restricts the service to the rows that meet these filters, for example `{"owner": 7}`.
    """

    repository_class: ClassVar[type[Repository[Any]]]

    def __init__(self, session: Session, scope: Parameters | None = None) -> None:
        self.repository: Repository[Read] = self.repository_class(session, scope)

    async def get(self, id: Any) -> Read:
        return await self.repository.get(id)

    async def page(self, query: ListQuery) -> Page[Read]:
        return await self.repository.page(query)

    def stream(self, query: ListQuery) -> AsyncIterator[list[Read]]:
        """Read the whole list in batches. Needs a transaction."""
        return self.repository.stream(query)

    async def update(
        self, id: Any, data: RequestModel, expected_versions: list[int] | None = None
    ) -> Read:
        """Change the fields that were sent.

        A request without any fields changes nothing, not even the version.
        """
        changes = data.model_dump(exclude_unset=True)
        if not changes:
            return await self.repository.get(id, expected_versions)
        return await self.repository.update(id, changes, expected_versions)

    async def delete(self, id: Any, expected_versions: list[int] | None = None) -> None:
        await self.repository.delete(id, expected_versions)
