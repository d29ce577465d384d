"""The base repositories: they execute a table's statements, one round trip each."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from math import ceil
from typing import Any, ClassVar, Generic, TypeVar

from app.core.errors import ConstraintViolated, NotFound, PreconditionFailed, ServiceError
from app.core.listing import Key, ListStatements
from app.core.pagination import Item, Page, PageQuery, decode_cursor, encode_cursor
from app.core.prepared import Prepared
from app.core.schemas import ReadModel
from app.core.sessions import Parameters, Records, Session, TransactionSession
from app.core.statements import Statements

Read = TypeVar("Read", bound=ReadModel)


class ListRepository(Generic[Item]):
    """Reads many rows of one table: of those that meet the filters of `within`."""

    model: type[Item]
    statements: ClassVar[ListStatements]

    def __init__(self, session: Session, **within: Any) -> None:
        self.session, self.within = session, within
        self._within = frozenset(within)

    @property
    def transaction(self) -> TransactionSession:
        """The session, for what takes more than a statement."""
        assert isinstance(self.session, TransactionSession)  # noqa: S101 - our callers' mistake
        return self.session

    def read(self, values: dict[str, Any]) -> Item:
        """The read model of the columns of `select_from`."""
        return self.model.model_validate(values)

    def read_all(self, rows: Records) -> list[Item]:
        """The read models of rows of `select_from`."""
        # From dicts: Pydantic takes twice as long to ask a row for its attributes.
        return [self.read(dict(row)) for row in rows]

    async def page(self, query: PageQuery, **fixed: Any) -> Page[Item]:
        """A page and, where counted exactly, its total: one statement. `fixed` adds filters."""
        query.check()
        filters, keys = query.filters() | fixed | self.within, self.statements.keys(query.order())
        # Of one's own an estimate is none: the planner's would tell of what others have.
        exact = query.counting() in ({"exact", "estimated"} if self.within else {"exact"})
        context = repr((self.statements.table.name, query.order(), sorted(filters.items())))
        position = self._position(query, keys, context)
        statement = self.statements.page(
            frozenset(filters), query.order(), after=query.cursor is not None, counted=exact
        )
        rows = await self.session.fetch(statement, {**filters, **position, "limit": query.size + 1})
        total = rows[0]["total"] if exact else await self._estimate(query, filters)
        found = [row for row in rows if row[self.statements.key] is not None]
        items = self.read_all(found[: query.size])
        last = rows[query.size - 1] if len(rows) > query.size else None
        return Page(
            items=items,
            total=total,
            page=None if query.cursor else query.page or 1,
            size=query.size,
            pages=None if query.cursor or total is None else ceil(total / query.size),
            next=encode_cursor([last[k.name] for k in keys], context) if last else None,
        )

    def _position(self, query: PageQuery, keys: list[Key], context: str) -> Parameters:
        if query.cursor is None:
            return {"offset": ((query.page or 1) - 1) * query.size}
        columns = self.statements.table.c
        types = tuple(columns[key.name].type.python_type | None for key in keys)
        values = decode_cursor(query.cursor, types, context)
        return {f"after_{key.name}": value for key, value in zip(keys, values, strict=True)}

    async def _estimate(self, query: PageQuery, filters: Parameters) -> int | None:
        if query.counting() != "estimated":
            return None
        statement = self.statements.estimate(frozenset(filters))
        plan = (await self.session.rows(statement, filters))[0][0]
        return int(plan[0]["Plan"]["Plan Rows"])

    async def all(self, query: PageQuery, **fixed: Any) -> AsyncIterator[list[Item]]:
        """Every row of the list, some at a time, in a transaction."""
        filters = query.filters() | fixed | self.within
        cursor = self.statements.cursor(frozenset(filters), query.order())
        async for rows in self.transaction.fetched(cursor, filters, self.statements.fetch):
            yield self.read_all(rows)


class Repository(ListRepository[Read]):
    """Reads and writes one entity. `get` raises not-found, `find` may return `None`.

    `versions` is an `If-Match`: a write goes through only while the row's version is among them,
    and that is checked by the writing statement itself. `None` writes unconditionally.
    """

    noun: ClassVar[str]
    statements: ClassVar[Statements]
    violations: ClassVar[Mapping[str, Callable[[], ServiceError]]] = {}

    async def find(self, key: Any) -> Read | None:
        statement = self.statements.get(self._within)
        rows = await self.session.fetch(statement, {"row_id": key, **self.within})
        return self.read(dict(rows[0])) if rows else None

    async def get(self, key: Any) -> Read:
        if (found := await self.find(key)) is None:
            raise self._not_found()
        return found

    async def create(self, values: Mapping[str, Any]) -> Read:
        statement = self.statements.insert(frozenset(values))
        return self.read_all(await self._write(statement, _new(values)))[0]

    async def create_many(self, rows: Sequence[Mapping[str, Any]]) -> list[Read]:
        """All of them or none, in one statement; their ids must ascend."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        statement = self.statements.insert_many(frozenset(columns))
        return self.read_all(await self._write(statement, _new(columns)))

    async def present(self, keys: Sequence[Any]) -> set[Any]:
        """Those of the keys of which there is a row."""
        rows = await self.session.rows(self.statements.present, {"row_ids": list(keys)})
        return {row.id for row in rows}

    async def update(self, key: Any, values: Mapping[str, Any], versions: list[int] | None) -> Read:
        conditional = versions is not None
        names, within = frozenset(values), self._within
        statement = self.statements.update(names, within, conditional=conditional)
        parameters = {**_new(values), "row_id": key, "versions": versions, **self.within}
        if rows := await self._write(statement, parameters):
            return self.read_all(rows)[0]
        raise await self._missed(key, versions)

    async def delete(self, key: Any, versions: list[int] | None) -> None:
        statement = self.statements.delete(self._within, conditional=versions is not None)
        if not await self._write(statement, {"row_id": key, "versions": versions, **self.within}):
            raise await self._missed(key, versions)

    async def _write(self, statement: Prepared, parameters: Parameters) -> Records:
        try:
            return await self.session.fetch(statement, parameters)
        except ConstraintViolated as error:
            meaning = self.violations.get(error.constraint)
            raise meaning() if meaning else error from error

    async def _missed(self, key: Any, versions: list[int] | None) -> ServiceError:
        """Why a write hit no row: there is none, or it has another version."""
        if versions is not None and await self.session.rows(
            self.statements.exists(self._within), {"row_id": key, **self.within}
        ):
            return PreconditionFailed()
        return self._not_found()

    def _not_found(self) -> NotFound:
        return NotFound(f"{self.noun} not found")


def _new(values: Mapping[str, Any]) -> dict[str, Any]:
    # SQLAlchemy keeps the bare column names for itself.
    return {f"new_{name}": value for name, value in values.items()}
