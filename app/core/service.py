"""The base service: what every entity can do, for routers, jobs and the command line alike."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from app.core.errors import PreconditionFailed
from app.core.pagination import ListQuery, Page
from app.core.repository import Repository
from app.core.schemas import ReadModel, RequestModel
from app.core.sessions import Session

Read = TypeVar("Read", bound=ReadModel)


class Service(Generic[Read]):
    """Subclasses name their repository and state what their entity does differently.

    Of rows that do not meet the filters of `within` a service knows nothing.
    """

    repository: ClassVar[type[Repository[Any]]]

    def __init__(self, session: Session, **within: Any) -> None:
        self.rows: Repository[Read] = self.repository(session, **within)

    async def get(self, key: Any) -> Read:
        return await self.rows.get(key)

    async def page(self, query: ListQuery) -> Page[Read]:
        return await self.rows.page(query)

    def all(self, query: ListQuery) -> AsyncIterator[list[Read]]:
        """Every row, some at a time."""
        return self.rows.all(query)

    async def present(self, keys: Sequence[Any]) -> set[Any]:
        """Those of the keys of which there is one."""
        return await self.rows.present(keys)

    async def update(self, key: Any, data: RequestModel, versions: list[int] | None = None) -> Read:
        """Change the fields that were sent; none at all changes nothing, not even the version."""
        if changes := data.model_dump(exclude_unset=True):
            return await self.rows.update(key, changes, versions)
        return await self._current(key, versions)

    async def delete(self, key: Any, versions: list[int] | None = None) -> None:
        await self.rows.delete(key, versions)

    async def _current(self, key: Any, versions: list[int] | None) -> Read:
        """What is there, for a write that has nothing to write, or not yet."""
        current = await self.rows.get(key)
        if versions is not None and current.version not in versions:
            raise PreconditionFailed
        return current
