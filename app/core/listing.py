"""The SQL of lists, built once for each form that it takes and from then on only executed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.models import Base
from app.core.prepared import Prepared

Condition = sa.ColumnElement[bool]
Conditions = Mapping[str, Condition]
Select = sa.Select[Any]
cached = lru_cache(maxsize=1024)
FEW = 1000  # rows that a search finds and sorts
FETCHED = 200  # rows of a cursor at a time


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


class ListStatements:
    """What reads many rows of one table, each as the read model needs it.

    `filters` are conditions, each binding a parameter of its own name. `nulls` names what stands
    in for NULL in an order, as the index on it does. `leading` are columns by the filter that each
    has to equal; for every order there is an index that they lead. `key` makes every order total.
    """

    key = "id"
    order: tuple[str, ...] = ("created_at",)  # where none is asked for

    def __init__(
        self,
        model: type[Base],
        read: type[BaseModel],
        filters: Conditions | None = None,
        nulls: Mapping[str, sa.ColumnElement[Any]] | None = None,
        leading: Mapping[str, sa.ColumnElement[Any]] | None = None,
    ) -> None:
        assert isinstance(model.__table__, sa.Table)  # noqa: S101 - it is no subquery
        self.table, self._read, self._nulls = model.__table__, read, nulls or {}
        self._leading = leading or {}
        self._filters = dict(filters or {})
        self.fetch = sa.text(f"FETCH FORWARD {FETCHED} FROM {self.table.name}")

    def select_from(self, rows: sa.FromClause) -> Select:
        """The read model's columns of rows of the table; a subclass joins what they lack."""
        return sa.select(*(rows.c[name] for name in self._read.model_fields))

    @cached
    def page(
        self, filters: frozenset[str], sort: tuple[str, ...], *, after: bool, counted: bool
    ) -> Prepared:
        """A page from an offset or after a cursor, joined to the total of what is filtered."""
        keys = self.keys(sort)
        conditions = self._conditions(filters)
        rows = sa.select(self.table).where(*conditions)
        rows = rows.where(self._after(keys, filters)) if after else rows
        cut = partial(_cut, keys=keys, after=after)
        # Cut before the joins: nothing is joined to the rows that a page skips.
        selected = self._searched(rows, cut) if "q" in filters else cut(rows, self.table)
        page = selected.subquery("page")
        items = self.select_from(page)
        if not counted:
            return Prepared(items.order_by(*(key.ordered(page) for key in keys)))
        # From the total, so that a page past the end still has one row: the total's.
        total = sa.select(sa.func.count().label("total")).select_from(self.table)
        count, item = total.where(*conditions).subquery("count"), items.subquery("item")
        both = sa.select(count.c.total, *item.c).select_from(count.outerjoin(item, sa.true()))
        return Prepared(both.order_by(*(key.ordered(item) for key in keys)))

    @cached
    def cursor(self, filters: frozenset[str], sort: tuple[str, ...]) -> sa.Executable:
        """Opens a cursor of the server's, of the table's name, on all that is filtered, in order.

        Of a cursor Postgres expects that its first rows are wanted soon, and not that all are
        read: it does not sort what an index has in order.
        """
        rows = self.select_from(self.table).where(*self._conditions(filters))
        rows = rows.order_by(*(key.ordered(self.table) for key in self.keys(sort)))
        return _Prefixed(f"DECLARE {self.table.name} NO SCROLL CURSOR FOR", rows)

    @cached
    def estimate(self, filters: frozenset[str]) -> sa.Executable:
        rows = sa.select(sa.literal(1)).select_from(self.table).where(*self._conditions(filters))
        return _Prefixed("EXPLAIN (FORMAT JSON)", rows)

    def keys(self, sort: tuple[str, ...]) -> list[Key]:
        """The keys of an order; the row's own comes last, in the direction of the one before it."""
        names = [(name.removeprefix("-"), name[0] == "-") for name in sort or self.order]
        keys = [Key(name, descending, self._nulls.get(name)) for name, descending in names]
        own = Key(self.key, keys[-1].descending)
        return keys if keys[-1] == own else [*keys, own]

    def _conditions(self, filters: frozenset[str]) -> list[Condition]:
        return [self._filters[name] for name in sorted(filters)]

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

    def _after(self, keys: list[Key], filters: frozenset[str]) -> Condition:
        """Rows after the cursor's, in a form that an index on the keys can start from.

        A filter that leads indexes comes before the keys. Near the end of an order the planner
        takes an index on the keys alone for as good, and reads what the filter does not want.
        """
        columns = [key.of(self.table) for key in keys]
        values = [key.after(self.table) for key in keys]
        down = [key.descending for key in keys]
        if len(set(down)) == 1:
            lead = {name: column for name, column in self._leading.items() if name in filters}
            given = [sa.bindparam(name, type_=column.type) for name, column in lead.items()]
            left, right = sa.tuple_(*lead.values(), *columns), sa.tuple_(*given, *values)
            return left < right if down[0] else left > right
        beyond = [c < v if d else c > v for c, v, d in zip(columns, values, down, strict=True)]
        equal = [column == value for column, value in zip(columns, values, strict=True)]
        steps = [sa.and_(*equal[:depth], beyond[depth]) for depth in range(len(keys))]
        start = columns[0] <= values[0] if down[0] else columns[0] >= values[0]
        return sa.and_(start, sa.or_(*steps))


def _cut(rows: Select, source: sa.FromClause, *, keys: list[Key], after: bool) -> Select:
    rows = rows.order_by(*(key.ordered(source) for key in keys)).limit(_number("limit"))
    return rows if after else rows.offset(_number("offset"))


def _number(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.Integer)


class _Prefixed(sa.Executable, sa.ClauseElement):
    """A statement about a query: to explain it, to open a cursor on it."""

    inherit_cache = False

    def __init__(self, words: str, query: Select) -> None:
        self.words, self.query = words, query


@compiles(_Prefixed)
def _compile(element: _Prefixed, compiler: SQLCompiler, **options: Any) -> str:
    return f"{element.words} {compiler.process(element.query, **options)}"
