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


def equals(column: InstrumentedAttribute[Any], filter_name: str | None = None) -> Condition:
    """Return the condition of a filter: the column is equal to the value of the filter.

    `equals(Book.author_id)` is `books.author_id = :author_id`, and
    `equals(Document.owner_id, "owner")` is `documents.owner_id = :owner`. The filter has the name
    of the column unless another name is passed.
    """
    return column == sa.bindparam(filter_name or column.key, type_=column.type)


class Statements(ListStatements):
    """Builds the SQL statements that read and write one entity.

    A write returns the columns of the read model, so that no second statement has to read them.

    `scope_filter_names` are the names of the filters that a row must match, for example
    `{"owner"}`. A row that does not match them does not exist for the statement. A filter must not
    have the name of a column that is written, because SQLAlchemy reserves these names for the
    parameters of INSERT and UPDATE.
    """

    def __init__(
        self,
        model: type[Entity],
        read_model: type[ReadModel],
        filters: Conditions | None = None,
        sort_nulls_as: Mapping[str, sa.ColumnElement[Any]] | None = None,
        index_prefix: Mapping[str, sa.ColumnElement[Any]] | None = None,
    ) -> None:
        """Prepare the statements of one entity. `ListStatements` explains the arguments.

        The filters of all entities, such as `created_from`, are added to `filters`.

        Raises `TypeError` with an explanation if the read model does not fit the table.
        """
        super().__init__(model, read_model, filters, sort_nulls_as, index_prefix)
        self.entity = model
        for key in self.sort_keys(()):
            # A cursor consists of the values of these columns in the last row of a page.
            if key.column_name not in self.selection.column_names:
                raise TypeError(
                    f"{read_model.__name__} lacks {key.column_name}, by which its lists are sorted."
                    " Add the field, or set `default_sort`."
                )
        self._filters = self._common_filters() | self._filters
        self._has_row_id = self.table.c.id == self._column_parameter("row_id", "id")
        self.has_uuid_key = isinstance(self.table.c.id.type, sa.Uuid)

    @property
    def filter_names(self) -> set[str]:
        """The names of the filters for which there is a condition."""
        return set(self._filters)

    @cached
    def get(self, scope_filter_names: frozenset[str]) -> Select:
        """Select the row with the id `:row_id`."""
        conditions = self._row_conditions(scope_filter_names)
        return mark_reusable(self.select_read_model(self.table).where(*conditions))

    @cached
    def get_many(self, scope_filter_names: frozenset[str]) -> Select:
        """Select the rows with the ids in the array `:row_ids`, in any order."""
        row_ids = sa.bindparam("row_ids", type_=sa.ARRAY(self.table.c.id.type))
        has_row_id = self.table.c.id == sa.any_(row_ids)
        conditions = [has_row_id, *self._conditions(scope_filter_names)]
        return mark_reusable(self.select_read_model(self.table).where(*conditions))

    @cached
    def exists(self, scope_filter_names: frozenset[str]) -> Select:
        """Select the number 1 if there is a row with the id `:row_id`, and nothing otherwise."""
        conditions = self._row_conditions(scope_filter_names)
        return sa.select(sa.literal(1)).select_from(self.table).where(*conditions)

    @cached
    def insert(self, column_names: frozenset[str]) -> Select:
        """Insert one row with a value for each of the columns, for example `:new_title`."""
        statement = sa.insert(self.table).values(self._new_values(column_names))
        return mark_reusable(self._select_written_rows(statement))

    @cached
    def insert_many(self, column_names: frozenset[str]) -> Select:
        """Insert one row for each element of arrays, and return the rows sorted by id.

        INSERT INTO authors (id, name)
        SELECT id, name FROM unnest(:new_id, :new_name) AS new_rows (id, name)
        """
        names = sorted(column_names)
        columns = [self.table.c[name] for name in names]
        arrays = [
            sa.bindparam(f"new_{column.name}", type_=sa.ARRAY(column.type)) for column in columns
        ]
        new_rows = sa.select(*unnest_arrays(columns, arrays, "new_rows").c)
        statement = sa.insert(self.table).from_select(names, new_rows)
        written_rows = self._select_written_rows(statement)
        return mark_reusable(written_rows.order_by(written_rows.selected_columns.id))

    @cached
    def update(
        self,
        column_names: frozenset[str],
        scope_filter_names: frozenset[str] = NO_SCOPE,
        *,
        check_version: bool,
    ) -> Select:
        """Set columns of the row with the id `:row_id`, and increment its version.

        With `check_version`, the row is written only if its version is in the array `:versions`.
        """
        automatic_values = {"version": self.table.c.version + 1, "updated_at": sa.func.now()}
        values = self._new_values(column_names) | automatic_values
        conditions = self._row_conditions(scope_filter_names, check_version=check_version)
        statement = sa.update(self.table).where(*conditions).values(values)
        return mark_reusable(self._select_written_rows(statement))

    @cached
    def delete(
        self, scope_filter_names: frozenset[str] = NO_SCOPE, *, check_version: bool
    ) -> ReturningDelete[Any]:
        """Delete the row with the id `:row_id`, and return its id.

        With `check_version`, the row is deleted only if its version is in the array `:versions`.
        """
        conditions = self._row_conditions(scope_filter_names, check_version=check_version)
        return mark_reusable(sa.delete(self.table).where(*conditions).returning(self.table.c.id))

    def _common_filters(self) -> dict[str, Condition]:
        """Return the filters that every entity has, by name.

        Ranges of time include their start and exclude their end. There is a filter `q`, a search
        by words, if the table has a column `search`.
        """
        columns = self.table.c
        ids = sa.bindparam("id", type_=sa.ARRAY(columns.id.type))
        created_from = self._column_parameter("created_from", "created_at")
        created_to = self._column_parameter("created_to", "created_at")
        updated_from = self._column_parameter("updated_from", "updated_at")
        updated_to = self._column_parameter("updated_to", "updated_at")
        filters: dict[str, Condition] = {
            "id": columns.id == sa.any_(ids),
            "created_from": columns.created_at >= created_from,
            "created_to": columns.created_at < created_to,
            "updated_from": columns.updated_at >= updated_from,
            "updated_to": columns.updated_at < updated_to,
        }
        if "search" in columns:
            search_query = sa.func.search_query(sa.bindparam("q", type_=sa.Text))
            filters["q"] = columns.search.bool_op("@@")(search_query)
        return filters

    def _row_conditions(
        self, scope_filter_names: frozenset[str], *, check_version: bool = False
    ) -> list[Condition]:
        """Return the conditions for the row that a statement reads or writes.

        For example `books.id = :row_id`, `books.owner_id = :owner` if `owner` is a filter of the
        scope, and, with `check_version`, that the version is in the array `:versions`.
        """
        conditions = [self._has_row_id, *self._conditions(scope_filter_names)]
        if check_version:
            versions = sa.bindparam("versions", type_=sa.ARRAY(sa.Text))
            version = self.selection.version_without_join(self.table)
            conditions.append(version == sa.any_(versions))
        return conditions

    def _select_written_rows(self, statement: sa.Insert | sa.Update) -> Select:
        """Return a statement that writes rows and selects them as the read model.

        WITH written AS (INSERT INTO books ... RETURNING *)
        SELECT written.id, ..., author_row.name AS author__name
        FROM written LEFT JOIN authors AS author_row ON author_row.id = written.author_id
        """
        written = statement.returning(*self.table.c).cte("written")
        # A written row may refer to a row that the statement cannot see, because another
        # transaction has created it after the statement's snapshot.
        return self.select_read_model(written, keep_incomplete=True)

    def _new_values(self, column_names: frozenset[str]) -> dict[str, sa.BindParameter[Any]]:
        """Return a parameter for each column to write, for example `{"title": :new_title}`."""
        return {name: self._column_parameter(f"new_{name}", name) for name in sorted(column_names)}

    def _column_parameter(self, parameter_name: str, column_name: str) -> sa.BindParameter[Any]:
        """Return a parameter of a statement that has the type of a column."""
        return sa.bindparam(parameter_name, type_=self.table.c[column_name].type)
