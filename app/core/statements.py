"""The SQL of an entity, built once for each form that it takes and from then on only executed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.models import Entity
from app.core.schemas import ReadModel

Condition = sa.ColumnElement[bool]
Conditions = Mapping[str, Condition]
Select = sa.Select[Any]
_cached = lru_cache(maxsize=1024)
FEW = 1000  # rows that a search finds and sorts


@dataclass(frozen=True)
class Key:
    """One key of an order. `null` stands in for NULL, so that every order is total."""

    name: str
    descending: bool
    null: sa.ColumnElement[Any] | None = None

    def of(self, rows: sa.FromClause) -> sa.ColumnElement[Any]:
        return self._total(rows.c[self.name])

    def ordered(self, rows: sa.FromClause) -> sa.ColumnElement[Any]:
        return self.of(rows).desc() if self.descending else self.of(rows).asc()

    def after(self, table: sa.Table) -> sa.ColumnElement[Any]:
        """The cursor's value, as the parameter `after_` and the name."""
        return self._total(sa.bindparam(f"after_{self.name}", type_=table.c[self.name].type))

    def _total(self, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return value if self.null is None else sa.func.coalesce(value, self.null)


class Statements:
    """Every statement of one table; what is read or written comes back as the read model needs.

    `filters` adds conditions, each binding a parameter of its own name. `nulls` names what stands
    in for NULL in an order, as the index on it does.
    """

    def __init__(
        self,
        model: type[Entity],
        read: type[ReadModel],
        filters: Conditions | None = None,
        nulls: Mapping[str, sa.ColumnElement[Any]] | None = None,
    ) -> None:
        assert isinstance(model.__table__, sa.Table)  # noqa: S101 - it is no subquery
        self.table, self._read, self._nulls = model.__table__, read, nulls or {}
        self._filters = self._common_filters() | dict(filters or {})
        self._this = self.table.c.id == self._bound("id", "row_id")
        self.get = self.select_from(self.table).where(self._this)
        self.exists = sa.select(sa.literal(1)).select_from(self.table).where(self._this)

    def select_from(self, rows: sa.FromClause) -> Select:
        """The read model's columns of rows of the table; a subclass joins what they lack."""
        return sa.select(*(rows.c[name] for name in self._read.model_fields))

    @_cached
    def insert(self, names: frozenset[str]) -> Select:
        return self._returning(sa.insert(self.table).values(self._new(names)))

    @_cached
    def update(self, names: frozenset[str], *, conditional: bool) -> Select:
        touched = {"version": self.table.c.version + 1, "updated_at": sa.func.now()}
        statement = sa.update(self.table).where(*self._target(conditional=conditional))
        return self._returning(statement.values(self._new(names) | touched))

    @_cached
    def delete(self, *, conditional: bool) -> sa.Executable:
        statement = sa.delete(self.table).where(*self._target(conditional=conditional))
        return statement.returning(self.table.c.id)

    @_cached
    def page(
        self, filters: frozenset[str], sort: tuple[str, ...], *, after: bool, counted: bool
    ) -> Select:
        """A page from an offset or after a cursor, joined to the total of what is filtered."""
        keys = self.keys(sort)
        conditions = [self._filters[name] for name in sorted(filters)]
        rows = sa.select(self.table).where(*conditions)
        rows = rows.where(self._after(keys)) if after else rows
        cut = partial(_cut, keys=keys, after=after)
        # Cut before the joins: nothing is joined to the rows that a page skips.
        selected = self._searched(rows, cut) if "q" in filters else cut(rows, self.table)
        page = selected.subquery("page")
        items = self.select_from(page)
        if not counted:
            return items.order_by(*(key.ordered(page) for key in keys))
        # From the total, so that a page past the end still has one row: the total's.
        total = sa.select(sa.func.count().label("total")).select_from(self.table)
        count, item = total.where(*conditions).subquery("count"), items.subquery("item")
        both = sa.select(count.c.total, *item.c).select_from(count.outerjoin(item, sa.true()))
        return both.order_by(*(key.ordered(item) for key in keys))

    def _searched(self, rows: Select, cut: Callable[..., Select]) -> sa.CompoundSelect[Any]:
        """The page of a search: from the index of words or along that of the order.

        Of a word that few rows have the planner believes that many do, and would read the table
        in order until it has found a page of them. So the first rows that are found are counted:
        when that is all of them they are sorted, else the rest cannot be far along the order.
        """
        hits = rows.limit(sa.literal_column(str(FEW + 1))).cte("hits")
        few = sa.select(sa.func.count()).select_from(hits).scalar_subquery() <= FEW
        found = cut(sa.select(hits).where(few), hits)
        return sa.union_all(found, cut(rows.where(sa.not_(few)), self.table))

    @_cached
    def estimate(self, filters: frozenset[str]) -> sa.Executable:
        conditions = [self._filters[name] for name in sorted(filters)]
        return _Explain(sa.select(sa.literal(1)).select_from(self.table).where(*conditions))

    def keys(self, sort: tuple[str, ...]) -> list[Key]:
        """The keys of an order; the id comes last, in the direction of the key before it."""
        names = [(name.removeprefix("-"), name[0] == "-") for name in sort or ("created_at",)]
        keys = [Key(name, descending, self._nulls.get(name)) for name, descending in names]
        return [*keys, Key("id", keys[-1].descending)]

    def _after(self, keys: list[Key]) -> Condition:
        """Rows after the cursor's, in a form that an index on the keys can start from."""
        columns = [key.of(self.table) for key in keys]
        values = [key.after(self.table) for key in keys]
        down = [key.descending for key in keys]
        if len(set(down)) == 1:
            left, right = sa.tuple_(*columns), sa.tuple_(*values)
            return left < right if down[0] else left > right
        beyond = [c < v if d else c > v for c, v, d in zip(columns, values, down, strict=True)]
        equal = [column == value for column, value in zip(columns, values, strict=True)]
        steps = [sa.and_(*equal[:depth], beyond[depth]) for depth in range(len(keys))]
        start = columns[0] <= values[0] if down[0] else columns[0] >= values[0]
        return sa.and_(start, sa.or_(*steps))

    def _common_filters(self) -> dict[str, Condition]:
        columns, ids = self.table.c, sa.ARRAY(self.table.c.id.type)
        query = sa.func.search_query(sa.bindparam("q", type_=sa.Text))
        return {
            "id": columns.id == sa.any_(sa.bindparam("id", type_=ids)),
            "q": columns.search.bool_op("@@")(query),
            "created_from": columns.created_at >= self._bound("created_at", "created_from"),
            "created_to": columns.created_at < self._bound("created_at", "created_to"),
            "updated_from": columns.updated_at >= self._bound("updated_at", "updated_from"),
            "updated_to": columns.updated_at < self._bound("updated_at", "updated_to"),
        }

    def _target(self, *, conditional: bool) -> list[Condition]:
        version = self.table.c.version
        versions = sa.bindparam("versions", type_=sa.ARRAY(version.type))
        return [self._this, version == sa.any_(versions)] if conditional else [self._this]

    def _returning(self, statement: sa.Insert | sa.Update) -> Select:
        return self.select_from(statement.returning(*self.table.c).cte("written"))

    def _new(self, names: frozenset[str]) -> dict[str, Any]:
        return {name: self._bound(name, f"new_{name}") for name in sorted(names)}

    def _bound(self, column: str, name: str) -> sa.BindParameter[Any]:
        return sa.bindparam(name, type_=self.table.c[column].type)


def _cut(rows: Select, source: sa.FromClause, *, keys: list[Key], after: bool) -> Select:
    rows = rows.order_by(*(key.ordered(source) for key in keys)).limit(_number("limit"))
    return rows if after else rows.offset(_number("offset"))


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.Integer)


class _Explain(sa.Executable, sa.ClauseElement):
    """The planner's view of a statement, without running it."""

    inherit_cache = False

    def __init__(self, statement: Select) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"
