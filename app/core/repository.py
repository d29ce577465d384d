"""The base repository: every SQL statement of an entity, built once, in one round trip each."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Row,
    Select,
    Table,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from app.core.database import Session
from app.core.errors import ConstraintViolated, NotFound, PreconditionFailed, ServiceError
from app.core.listing import Filters, Listing, Shape, common_filters
from app.core.models import Entity
from app.core.pagination import ListQuery, decode_cursor, encode_cursor, page_of
from app.core.schemas import Page, ReadModel

Read = TypeVar("Read", bound=ReadModel)
Key = TypeVar("Key")


class Statements:
    """The statements of one entity. `select_from` says which columns a read model is made of."""

    def __init__(
        self,
        model: type[Entity],
        select_from: Callable[[FromClause], Select[Any]],
        *,
        filters: Filters | None = None,
        nulls: Mapping[str, Any] | None = None,
    ) -> None:
        table = model.__table__
        assert isinstance(table, Table)  # noqa: S101 - a mapped class has no other
        self.table = table
        self.select_from = select_from
        self.lists = Listing(
            table, select_from, {**common_filters(table), **(filters or {})}, nulls or {}
        )
        self._id = table.c.id == bindparam("row_id", type_=table.c.id.type)
        self.get = select_from(table).where(self._id)
        self.exists = select(literal(1)).select_from(table).where(self._id)
        self.insert = cache(self._insert)
        self.update = cache(self._update)
        self.delete = cache(self._delete)

    def _insert(self, names: frozenset[str]) -> Select[Any]:
        statement = insert(self.table).values(self._bound(names)).returning(*self.table.c)
        return self.select_from(statement.cte("changed"))

    def _update(self, names: frozenset[str], *, conditional: bool) -> Select[Any]:
        touched = {"version": self.table.c.version + 1, "updated_at": func.now()}
        statement = update(self.table).where(*self._target(conditional=conditional))
        statement = statement.values(self._bound(names) | touched)
        return self.select_from(statement.returning(*self.table.c).cte("changed"))

    def _delete(self, *, conditional: bool) -> Any:
        statement = delete(self.table).where(*self._target(conditional=conditional))
        return statement.returning(self.table.c.id)

    def _bound(self, names: frozenset[str]) -> dict[str, Any]:
        columns = self.table.c
        return {name: bindparam(f"new_{name}", type_=columns[name].type) for name in sorted(names)}

    def _target(self, *, conditional: bool) -> list[ColumnElement[bool]]:
        if not conditional:
            return [self._id]
        version = self.table.c.version
        return [self._id, version == any_(bindparam("versions", type_=ARRAY(version.type)))]


class Repository(Generic[Key, Read]):
    """Reads and writes one entity. `get` raises not-found, `find` may return `None`.

    `versions` is an `If-Match`: a write goes through only while the row's version is among them,
    and that is checked by the writing statement itself. `None` writes unconditionally.
    """

    statements: ClassVar[Statements]
    noun: ClassVar[str]
    violations: ClassVar[Mapping[str, Callable[[], ServiceError]]] = {}

    def __init__(self, session: Session) -> None:
        self.session = session

    def read(self, row: Row[Any]) -> Read:
        """The read model of a row of `select_from`."""
        raise NotImplementedError

    async def find(self, key: Key) -> Read | None:
        rows = await self.session.rows(self.statements.get, {"row_id": key})
        return self.read(rows[0]) if rows else None

    async def get(self, key: Key) -> Read:
        found = await self.find(key)
        if found is None:
            raise self.not_found()
        return found

    async def create(self, values: Mapping[str, Any]) -> Read:
        statement = self.statements.insert(frozenset(values))
        return self.read((await self._write(statement, _new(values)))[0])

    async def update(self, key: Key, values: Mapping[str, Any], versions: list[int] | None) -> Read:
        statement = self.statements.update(frozenset(values), conditional=versions is not None)
        rows = await self._write(statement, {**_new(values), "row_id": key, "versions": versions})
        if not rows:
            raise await self._missed(key, versions)
        return self.read(rows[0])

    async def delete(self, key: Key, versions: list[int] | None) -> None:
        statement = self.statements.delete(conditional=versions is not None)
        if not await self._write(statement, {"row_id": key, "versions": versions}):
            raise await self._missed(key, versions)

    async def exists(self, key: Key) -> bool:
        return bool(await self.session.rows(self.statements.exists, {"row_id": key}))

    async def page(self, query: ListQuery, **fixed: Any) -> Page[Read]:
        """A page and, where counted exactly, its total: one statement. `fixed` adds filters."""
        lists, filters = self.statements.lists, query.filters() | fixed
        keys = lists.keys(query.sort)
        context = json.dumps([lists.table.name, query.sort, filters], default=str, sort_keys=True)
        parameters = {**filters, "limit": query.size + 1}
        if query.cursor is not None:
            values = decode_cursor(query.cursor, [lists.types[key.name] for key in keys], context)
            parameters |= {f"after_{key.name}": v for key, v in zip(keys, values, strict=True)}
        else:
            parameters["offset"] = ((query.page or 1) - 1) * query.size
        exact = query.counting == "exact"
        shape = Shape(frozenset(filters), query.sort, query.cursor is not None, exact)
        rows = await self.session.rows(lists.statement(shape), parameters)
        total = rows[0].total if exact else await self._estimated(query, filters)
        rows = [row for row in rows if row.id is not None]
        more = len(rows) > query.size
        rows = rows[: query.size]
        following = encode_cursor([key.value(rows[-1]) for key in keys], context) if more else None
        return page_of([self.read(row) for row in rows], query, total=total, following=following)

    async def _estimated(self, query: ListQuery, filters: Mapping[str, Any]) -> int | None:
        if query.counting != "estimated":
            return None
        statement = self.statements.lists.estimate(frozenset(filters))
        plan = (await self.session.rows(statement, filters))[0][0]
        return int(plan[0]["Plan"]["Plan Rows"])

    async def _write(self, statement: Any, parameters: Mapping[str, Any]) -> Any:
        try:
            return await self.session.rows(statement, parameters)
        except ConstraintViolated as error:
            meaning = self.violations.get(error.constraint or "")
            raise (meaning() if meaning else error) from error

    async def _missed(self, key: Key, versions: list[int] | None) -> ServiceError:
        """Why a write hit no row: there is none, or it has another version."""
        if versions is not None and await self.exists(key):
            return PreconditionFailed()
        return self.not_found()

    def not_found(self) -> NotFound:
        return NotFound(f"{self.noun} not found")


def _new(values: Mapping[str, Any]) -> dict[str, Any]:
    # SQLAlchemy reserves the bare column names for itself.
    return {f"new_{name}": value for name, value in values.items()}
