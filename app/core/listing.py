"""The SELECTs behind lists, built once for each shape of query and then only executed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    and_,
    any_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

Filters = Mapping[str, ColumnElement[bool]]


def common_filters(table: Table) -> dict[str, ColumnElement[bool]]:
    """Conditions that every entity's list knows; each binds a parameter of its own name."""
    columns, instant = table.c, table.c.created_at.type
    return {
        "id": columns.id == any_(bindparam("id", type_=ARRAY(columns.id.type))),
        "q": columns.search.op("@@")(func.search_query(bindparam("q", type_=Text))),
        "created_from": columns.created_at >= bindparam("created_from", type_=instant),
        "created_to": columns.created_at < bindparam("created_to", type_=instant),
        "updated_from": columns.updated_at >= bindparam("updated_from", type_=instant),
        "updated_to": columns.updated_at < bindparam("updated_to", type_=instant),
    }


@dataclass(frozen=True)
class Shape:
    """What makes one list statement differ from another; the values are parameters."""

    filters: frozenset[str]
    sort: tuple[str, ...]
    after_cursor: bool
    counted: bool


@dataclass(frozen=True)
class Key:
    """One key of an order. `null` stands in for NULL, so that every order is total."""

    name: str
    descending: bool
    null: Any = None

    def of(self, source: FromClause) -> ColumnElement[Any]:
        column = source.c[self.name]
        return column if self.null is None else func.coalesce(column, literal(self.null))

    def ordered(self, source: FromClause) -> ColumnElement[Any]:
        return self.of(source).desc() if self.descending else self.of(source).asc()

    def value(self, row: Any) -> Any:
        value = getattr(row, self.name)
        return self.null if value is None else value


class Listing:
    """The list statements of one table.

    `select_from` makes the SELECT of an entity's columns from rows of its table, joins included:
    it is applied to the page, never to the rows that the page skips.
    """

    def __init__(
        self,
        table: Table,
        select_from: Callable[[FromClause], Select[Any]],
        filters: Filters,
        nulls: Mapping[str, Any],
    ) -> None:
        self.table = table
        self.select_from = select_from
        self.filters = filters
        self.nulls = nulls
        self.statement = lru_cache(maxsize=512)(self._statement)
        self.estimate = lru_cache(maxsize=128)(self._estimate)

    def keys(self, sort: tuple[str, ...]) -> list[Key]:
        """The keys of an order; the id comes last, in the direction of the key before it."""
        names = sort or ("created_at",)
        keys = [
            Key(bare := name.removeprefix("-"), name.startswith("-"), self.nulls.get(bare))
            for name in names
        ]
        return [*keys, Key("id", keys[-1].descending)]

    def _statement(self, shape: Shape) -> Select[Any]:
        keys = self.keys(shape.sort)
        conditions = [self.filters[name] for name in sorted(shape.filters)]
        rows = select(self.table).where(*conditions)
        if shape.after_cursor:
            rows = rows.where(_after(keys, self.table))
        else:
            rows = rows.offset(bindparam("offset", type_=Integer))
        rows = rows.order_by(*(key.ordered(self.table) for key in keys))
        page = rows.limit(bindparam("limit", type_=Integer)).subquery("page")
        items = self.select_from(page)
        if not shape.counted:
            return items.order_by(*(key.ordered(page) for key in keys))
        # From the total, so that a page past the end still has one row: the total's.
        total = select(func.count().label("total")).select_from(self.table).where(*conditions)
        counted, item = total.subquery("counted"), items.subquery("item")
        joined = counted.outerjoin(item, true())
        ordered = (key.ordered(item) for key in keys)
        return select(counted.c.total, *item.c).select_from(joined).order_by(*ordered)

    def _estimate(self, filters: frozenset[str]) -> Executable:
        conditions = [self.filters[name] for name in sorted(filters)]
        return Explain(select(literal(1)).select_from(self.table).where(*conditions))

    @cached_property
    def types(self) -> Mapping[str, type]:
        return {
            column.name: column.type.python_type
            for column in self.table.c
            if column.name != "search"
        }


def _after(keys: list[Key], table: Table) -> ColumnElement[bool]:
    """Rows that come after the cursor's, in a form that an index on the keys can start from."""
    columns = [key.of(table) for key in keys]
    values = [bindparam(f"after_{key.name}", type_=table.c[key.name].type) for key in keys]
    if len({key.descending for key in keys}) == 1:
        left, right = tuple_(*columns), tuple_(*values)
        return left < right if keys[0].descending else left > right
    beyond = [
        column < value if key.descending else column > value
        for key, column, value in zip(keys, columns, values, strict=True)
    ]
    equal = [column == value for column, value in zip(columns, values, strict=True)]
    steps = [and_(*equal[:depth], beyond[depth]) for depth in range(len(keys))]
    return and_(or_(beyond[0], equal[0]), or_(*steps))


class Explain(Executable, ClauseElement):
    """`EXPLAIN` of a statement: the planner's view of it, without running it."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"
