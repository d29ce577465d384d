"""The base service: the five verbs of an entity, for routers, jobs and the command line alike."""

from typing import Any, ClassVar, Generic, TypeVar

from app.core.database import Session
from app.core.errors import PreconditionFailed
from app.core.pagination import ListQuery
from app.core.repository import Repository
from app.core.schemas import Page, ReadModel, RequestModel

Read = TypeVar("Read", bound=ReadModel)
Key = TypeVar("Key")


class Service(Generic[Key, Read]):
    """Subclasses name their repository and override what their entity does differently."""

    repository: ClassVar[type[Repository[Any, Any]]]

    def __init__(self, session: Session) -> None:
        self.rows: Repository[Key, Read] = self.repository(session)

    async def get(self, key: Key) -> Read:
        return await self.rows.get(key)

    async def page(self, query: ListQuery) -> Page[Read]:
        query.check()
        return await self.rows.page(query)

    async def update(self, key: Key, data: RequestModel, versions: list[int] | None = None) -> Read:
        """Change the fields that were sent; none at all changes nothing, not even the version."""
        changes = data.changes()
        if changes:
            return await self.rows.update(key, changes, versions)
        unchanged = await self.rows.get(key)
        if versions is not None and unchanged.version not in versions:
            raise PreconditionFailed
        return unchanged

    async def delete(self, key: Key, versions: list[int] | None = None) -> None:
        await self.rows.delete(key, versions)
