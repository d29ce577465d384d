"""The statements of an entity: those that read lists, and those that read and write rows."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete

from app.core.db._arrays import unnest_arrays
from app.core.db._listing import Condition, Conditions, ListStatements, Select, cached
from app.core.db._models import Entity
from app.core.db._sessions import mark_reusable
from app.core.schemas import ReadModel

NO_SCOPE: Final[frozenset[str]] = frozenset()


def equals(column: InstrumentedAttribute[Any], parameter: str | None = None) -> Condition:
    """Return a filter's condition that a column is equal to the filter's value.

    For `Book.author_id`, that is `books.author_id = :author_id`. The parameter has to have the
    name of the filter, which by default is that of the column.
    """
    return column == sa.bindparam(parameter or column.key, type_=column.type)


class Statements(ListStatements):
    """The statements of one entity. A write returns the columns of the read model.

    `scope` names the filters that a row has to match; otherwise it does not exist. A filter must
    not have the name of a column, because SQLAlchemy reserves these for what an UPDATE sets.
    """

    def __init__(
        self,
        model: type[Entity],
        read_model: type[ReadModel],
        filters: Conditions | None = None,
        sort_nulls_as: Mapping[str, sa.ColumnElement[Any]] | None = None,
        index_prefix: Mapping[str, sa.ColumnElement[Any]] | None = None,
    ) -> None:
        super().__init__(model, read_model, filters, sort_nulls_as, index_prefix)
        self.entity = model
        for key in self.sort_keys(()):
            # A cursor is made of the values that the last row of a page has in these columns.
            if key.column not in self.selection.columns:
                raise TypeError(
                    f"{read_model.__name__} lacks {key.column}, by which its lists are sorted. Add "
                    "the field, or set `default_sort`."
                )
        self._filters = self._common_filters() | self._filters
        self._this = self.table.c.id == self._bound("id", "row_id")
        self.has_uuid_key = isinstance(self.table.c.id.type, sa.Uuid)

    @property
    def filter_names(self) -> set[str]:
        """The names of the filters for which there is a condition."""
        return set(self._filters)

    @cached
    def get(self, scope: frozenset[str]) -> Select:
        conditions = self._target(scope, check_version=False)
        return mark_reusable(self.select_read_model(self.table).where(*conditions))

    @cached
    def get_many(self, scope: frozenset[str]) -> Select:
        ids = sa.bindparam("row_ids", type_=sa.ARRAY(self.table.c.id.type))
        conditions = [self.table.c.id == sa.any_(ids), *self._conditions(scope)]
        return mark_reusable(self.select_read_model(self.table).where(*conditions))

    @cached
    def exists(self, scope: frozenset[str]) -> Select:
        conditions = self._target(scope, check_version=False)
        return sa.select(sa.literal(1)).select_from(self.table).where(*conditions)

    @cached
    def insert(self, names: frozenset[str]) -> Select:
        return mark_reusable(self._returning(sa.insert(self.table).values(self._new(names))))

    @cached
    def insert_many(self, names: frozenset[str]) -> Select:
        """Insert one row for each element of arrays, and return the rows sorted by id.

        INSERT INTO authors (id, name)
        SELECT id, name FROM unnest(:new_id, :new_name) AS new_rows (id, name)
        """
        columns = [self.table.c[name] for name in sorted(names)]
        arrays = [sa.bindparam(f"new_{c.name}", type_=sa.ARRAY(c.type)) for c in columns]
        new_rows = sa.select(*unnest_arrays(columns, arrays, "new_rows").c)
        statement = sa.insert(self.table).from_select([c.name for c in columns], new_rows)
        written = self._returning(statement)
        return mark_reusable(written.order_by(written.selected_columns.id))

    @cached
    def update(
        self, names: frozenset[str], scope: frozenset[str] = NO_SCOPE, *, check_version: bool
    ) -> Select:
        touched = {"version": self.table.c.version + 1, "updated_at": sa.func.now()}
        statement = sa.update(self.table).where(*self._target(scope, check_version=check_version))
        return mark_reusable(self._returning(statement.values(self._new(names) | touched)))

    @cached
    def delete(
        self, scope: frozenset[str] = NO_SCOPE, *, check_version: bool
    ) -> ReturningDelete[Any]:
        statement = sa.delete(self.table).where(*self._target(scope, check_version=check_version))
        return mark_reusable(statement.returning(self.table.c.id))

    def _common_filters(self) -> dict[str, Condition]:
        columns, ids = self.table.c, sa.ARRAY(self.table.c.id.type)
        query = sa.func.search_query(sa.bindparam("q", type_=sa.Text))
        words = {"q": columns.search.bool_op("@@")(query)} if "search" in columns else {}
        return {
            **words,
            "id": columns.id == sa.any_(sa.bindparam("id", type_=ids)),
            "created_from": columns.created_at >= self._bound("created_at", "created_from"),
            "created_to": columns.created_at < self._bound("created_at", "created_to"),
            "updated_from": columns.updated_at >= self._bound("updated_at", "updated_from"),
            "updated_to": columns.updated_at < self._bound("updated_at", "updated_to"),
        }

    def _target(self, scope: frozenset[str], *, check_version: bool) -> list[Condition]:
        conditions = [self._this, *self._conditions(scope)]
        if check_version:
            versions = sa.bindparam("versions", type_=sa.ARRAY(sa.Text))
            conditions.append(self.selection.version(self.table) == sa.any_(versions))
        return conditions

    def _returning(self, statement: sa.Insert | sa.Update) -> Select:
        # An outer join, because the statement may write a row that refers to one that it cannot
        # see yet: another transaction has created that after the statement's snapshot.
        written = statement.returning(*self.table.c).cte("written")
        return self.select_read_model(written, outer=True)

    def _new(self, names: frozenset[str]) -> dict[str, Any]:
        return {name: self._bound(name, f"new_{name}") for name in sorted(names)}

    def _bound(self, column: str, name: str) -> sa.BindParameter[Any]:
        return sa.bindparam(name, type_=self.table.c[column].type)
