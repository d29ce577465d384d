"""SQL statements of an entity: they read lists and single rows, and insert, update and delete."""

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete

from app.core.db._arrays import unnest_arrays
from app.core.db._cached_statements import cached_statement
from app.core.db._column_filters import column_filters
from app.core.db._dependents import has_few_dependents
from app.core.db._listing import Condition, Conditions, ListStatements, Select
from app.core.db._models import Entity
from app.core.db._sessions import mark_reusable
from app.core.preconditions import VersionCheck
from app.core.schemas import ReadModel

NO_SCOPE: Final[frozenset[str]] = frozenset()


def equals(column: InstrumentedAttribute[Any], filter_name: str | None = None) -> Condition:
    """Return the SQL condition of a filter that compares a column with the client's value.

    `equals(Book.author_id)` is `books.author_id = :author_id`, and
    `equals(Document.owner_id, "owner")` is `documents.owner_id = :owner`. If `filter_name` is not
    passed, the filter has the name of the column.
    """
    parameter_name = filter_name or column.key
    return column == sa.bindparam(parameter_name, type_=column.type)


class Statements(ListStatements):
    """Builds the SQL statements that read and write the rows of one entity, for example of books.

    Each method returns a statement, and executes nothing. Statements that insert or update a row
    also return the columns of the read model, so that no second statement has to read the row.

    `scope_filter_names` are filters that hide rows from the caller. With `{"owner"}`, a statement
    reads and writes only the rows whose owner is `:owner`, as if other rows did not exist. A filter
    must not have the name of a column that is written, because SQLAlchemy reserves these names for
    the parameters of INSERT and UPDATE.
    """

    def __init__(
        self,
        model: type[Entity],
        read_model: type[ReadModel],
        filters: Conditions | None = None,
        sort_nulls_as: Mapping[str, sa.ColumnElement[Any]] | None = None,
        leading_index_columns: Mapping[str, sa.ColumnElement[Any]] | None = None,
    ) -> None:
        """Prepare the statements of one entity. Each is built when it is first needed.

        Args:
            model: The mapped class of the entity.
            read_model: The Pydantic model whose fields are selected.
            filters: Maps the name of each filter to its condition. The filters that all entities
                have, such as `created_from`, are added, and so are those of `column_filters`.
            sort_nulls_as: Maps the name of a column to the value that replaces NULL when rows are
                sorted by the column. It is greater than every value of the column.
            leading_index_columns: The first column of the indexes by which filtered lists are
                sorted, by the name of the filter that compares it with `=`. See `ListStatements`.

        Raises `TypeError` with an explanation if the read model does not fit the table.
        """
        super().__init__(model, read_model, filters, sort_nulls_as, leading_index_columns)
        self.entity = model
        self._require_fields_of_default_sort(read_model)
        self._filters = self._common_filters() | self._filters
        self._has_row_id = self.table.c.id == self._column_parameter("row_id", "id")
        self.has_uuid_key = isinstance(self.table.c.id.type, sa.Uuid)

    @property
    def filter_names(self) -> set[str]:
        """The names of all filters of a list, for example `{"author_id", "created_from", ...}`."""
        return set(self._filters)

    @cached_statement
    def select_row(self, scope_filter_names: frozenset[str]) -> Select:
        """Return the statement that selects the row with the id `:row_id`."""
        conditions = self._row_conditions(scope_filter_names)
        return mark_reusable(self.select_read_model(self.table).where(*conditions))

    @cached_statement
    def select_rows(self, scope_filter_names: frozenset[str]) -> Select:
        """Return the statement that selects the rows whose ids are in the array `:row_ids`.

        It omits rows that do not match the scope filters, and returns the others in any order.
        """
        row_ids = sa.bindparam("row_ids", type_=sa.ARRAY(self.table.c.id.type))
        has_row_id = self.table.c.id == sa.any_(row_ids)
        conditions = [has_row_id, *self.filter_conditions(scope_filter_names)]
        return mark_reusable(self.select_read_model(self.table).where(*conditions))

    @cached_statement
    def exists(
        self, scope_filter_names: frozenset[str], version_check: VersionCheck = "unchecked"
    ) -> Select:
        """Return the statement that checks whether a row with the id `:row_id` exists.

            SELECT 1 FROM books WHERE id = :row_id

        If the row exists, matches the scope filters and passes the check of its version, the result
        has one row.
        """
        conditions = self._row_conditions(scope_filter_names, version_check)
        return sa.select(sa.literal(1)).select_from(self.table).where(*conditions)

    @cached_statement
    def insert(self, column_names: frozenset[str]) -> Select:
        """Return the statement that inserts one row, and selects the row with its embedded rows.

        The value of each column is a parameter such as `:new_title`.
        """
        statement = sa.insert(self.table).values(self._new_values(column_names))
        return mark_reusable(self._select_written_rows(statement))

    @cached_statement
    def insert_many(self, column_names: frozenset[str]) -> Select:
        """Return the statement that inserts many rows, and selects them sorted by id.

        All values of a column are one array, for example the names of all new authors:

            INSERT INTO authors (id, name)
            SELECT id, name FROM unnest(:new_id, :new_name) AS new_rows (id, name)
        """
        sorted_names = sorted(column_names)
        columns = [self.table.c[name] for name in sorted_names]
        column_arrays = [
            sa.bindparam(f"new_{column.name}", type_=sa.ARRAY(column.type)) for column in columns
        ]
        new_rows = unnest_arrays(columns, column_arrays, "new_rows")
        statement = sa.insert(self.table).from_select(sorted_names, sa.select(*new_rows.c))
        written_rows = self._select_written_rows(statement)
        return mark_reusable(written_rows.order_by(written_rows.selected_columns.id))

    @cached_statement
    def update(
        self,
        column_names: frozenset[str],
        scope_filter_names: frozenset[str] = NO_SCOPE,
        version_check: VersionCheck = "unchecked",
    ) -> Select:
        """Return the statement that updates the row with the id `:row_id`, and selects it.

        The statement sets each column to a parameter such as `:new_title`, and increments the
        version of the row. It updates the row only if the row matches the scope filters, such as
        `owner_id = :owner`, and if its version passes the check against the array `:versions`.
        """
        automatic_values = {"version": self.table.c.version + 1, "updated_at": sa.func.now()}
        column_values = self._new_values(column_names) | automatic_values
        conditions = self._row_conditions(scope_filter_names, version_check)
        statement = sa.update(self.table).where(*conditions).values(column_values)
        return mark_reusable(self._select_written_rows(statement))

    @cached_statement
    def delete(
        self,
        scope_filter_names: frozenset[str] = NO_SCOPE,
        version_check: VersionCheck = "unchecked",
    ) -> ReturningDelete[Any]:
        """Return the statement that deletes the row with the id `:row_id`, and returns its id.

        The statement deletes the row only if the row matches the scope filters, such as
        `owner_id = :owner`, if its version passes the check against the array `:versions`, and if
        few rows would be deleted with it (see `_dependents.py`).
        """
        conditions = self._row_conditions(scope_filter_names, version_check)
        statement = sa.delete(self.table).where(*conditions, *has_few_dependents(self.table))
        return mark_reusable(statement.returning(self.table.c.id))

    def _require_fields_of_default_sort(self, read_model: type[ReadModel]) -> None:
        """Raise `TypeError` if the read model lacks a column of the default sort order.

        The cursor of the next page contains the values by which the last row of a page is sorted.
        They are known only if they are fields of the read model.
        """
        for key in self.parse_sort(()):
            if key.column_name not in self.selection.column_names:
                raise TypeError(
                    f"{read_model.__name__} lacks {key.column_name}, by which its lists are sorted."
                    " Add the field, or set `default_sort`."
                )

    def _common_filters(self) -> dict[str, Condition]:
        """Return the filters that the lists of all entities have, each with its SQL condition.

        One of them is `{"created_from": books.created_at >= :created_from}`.
        """
        ids = sa.bindparam("id", type_=sa.ARRAY(self.table.c.id.type))
        return {
            "id": self.table.c.id == sa.any_(ids),
            **column_filters(self.table, self._sort_nulls_as),
        }

    def _row_conditions(
        self, scope_filter_names: frozenset[str], version_check: VersionCheck = "unchecked"
    ) -> list[Condition]:
        """Return the WHERE conditions that identify the one row that a statement reads or writes.

        With the version check "is one of", the conditions for a document of one owner are:

            id = :row_id AND owner_id = :owner AND version = ANY (:versions)
        """
        conditions = [self._has_row_id, *self.filter_conditions(scope_filter_names)]
        if version_check == "unchecked":
            return conditions
        versions = sa.bindparam("versions", type_=sa.ARRAY(sa.Text))
        version = self.selection.version_without_join(self.table)
        if version_check == "is one of":
            conditions.append(version == sa.any_(versions))
        else:
            conditions.append(version != sa.all_(versions))
        return conditions

    def _select_written_rows(self, statement: sa.Insert | sa.Update) -> Select:
        """Return a statement that writes rows, and selects the fields of the read model from them.

        A new book is selected together with its author:

            WITH written AS (INSERT INTO books ... RETURNING *)
            SELECT written.id, ..., author_row.name AS author__name
            FROM written LEFT JOIN authors AS author_row ON author_row.id = written.author_id
        """
        written = statement.returning(*self.table.c).cte("written")
        # If another transaction creates the author after the statement has started, the statement
        # cannot see the author, and an inner join would omit the book.
        return self.extend_write(self.select_read_model(written, use_outer_joins=True))

    def extend_write(self, statement: Select) -> Select:
        """Extend the statement that inserts or updates rows. A subclass may override it."""
        return statement

    def _new_values(self, column_names: frozenset[str]) -> dict[str, sa.BindParameter[Any]]:
        """Return the parameter with the new value of each column: `{"title": :new_title}`."""
        return {name: self._column_parameter(f"new_{name}", name) for name in sorted(column_names)}

    def _column_parameter(self, parameter_name: str, column_name: str) -> sa.BindParameter[Any]:
        """Return an SQL parameter such as `:created_from`, whose type is that of a column."""
        return sa.bindparam(parameter_name, type_=self.table.c[column_name].type)
