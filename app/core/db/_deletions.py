"""Deletes several rows by their ids: either all of them or none.

One statement locks the rows, and deletes them if all of them exist. Transactions that delete some
of the same rows lock them in the same order, so that they wait for each other without a deadlock.
If the statement deletes nothing, a second statement finds out why.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._cached_statements import cached_statement
from app.core.db._constraints import MAX_POINTERS, ConstraintErrorFinder
from app.core.db._dependents import delete_with_dependents, have_few_dependents
from app.core.db._listing import Condition, Select
from app.core.db._missing_rows import missing_row_field_error
from app.core.db._sessions import Parameters, Session, mark_reusable
from app.core.db._statements import Statements
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest, ServiceError
from app.core.field_errors import FieldError, json_pointer

# The member of the request body that contains the ids.
_IDS_FIELD: Final = "ids"


class DeletionOfRows:
    """Deletes several rows of one table by their ids, for one request.

    The pointers of errors, such as `/ids/3`, are positions in the list of ids.
    """

    def __init__(
        self,
        session: Session,
        statements: Statements,
        scope: Parameters,
        error_finder: ConstraintErrorFinder,
    ) -> None:
        """Prepare the deletion.

        Args:
            session: Executes the statements.
            statements: The statements of the entity.
            scope: Filters that hide rows from the caller, for example `{"owner": 7}`.
            error_finder: Finds the error for rows to which other rows refer.
        """
        self._session = session
        self._statements = statements
        self._scope = scope
        self._scope_filter_names = frozenset(scope)
        self._error_finder = error_finder

    async def delete(self, ids: Sequence[Any]) -> None:
        """Delete the rows with these ids, or raise an error and delete none of them.

        Raises `InvalidRequest` if an id is repeated or unknown, and `Conflict` if other rows refer
        to one of the rows.
        """
        _require_distinct_ids(ids)
        statement = _delete_rows(self._statements, self._scope_filter_names)
        parameters = {**self._scope, "row_ids": list(ids)}
        try:
            # Without a savepoint, a transaction could not execute statements after a failed one.
            async with self._session.savepoint():
                if await self._session.execute(statement, parameters):
                    return
        except ConstraintViolated as violation:
            error = await self._find_reference_error(violation.constraint_name, ids)
            if error is None:
                raise
            raise error from violation

        await self._require_existing_ids(ids, parameters)
        is_deleted = await delete_with_dependents(
            self._session,
            self._statements.table,
            ids,
            _lock_rows(self._statements, self._scope_filter_names),
            statement,
            parameters,
        )
        if not is_deleted:
            # The rows were missing or locked until another transaction ended. They exist by now.
            raise Conflict

    async def _require_existing_ids(self, ids: Sequence[Any], parameters: Parameters) -> None:
        """Raise `InvalidRequest` with a pointer to each id that no visible row has."""
        statement = _select_existing_ids(self._statements, self._scope_filter_names)
        rows = await self._session.execute(statement, parameters)
        existing_ids = {row["id"] for row in rows}
        noun = self._error_finder.noun.replace(" ", "_")
        field_errors = [
            missing_row_field_error(f"{noun}_id", json_pointer(_IDS_FIELD, index))
            for index, row_id in enumerate(ids)
            if row_id not in existing_ids
        ]
        if field_errors:
            raise InvalidRequest(*field_errors)

    async def _find_reference_error(
        self, constraint_name: str, ids: Sequence[Any]
    ) -> ServiceError | None:
        """Return the error for rows to which other rows refer by a foreign key with this name.

        Its detail names their positions: "The author cannot be deleted while books refer to it:
        /ids/3, /ids/5". Returns None if the constraint is not such a foreign key.
        """
        error = self._error_finder.find_delete_error(constraint_name)
        foreign_key = self._error_finder.find_referring_key(constraint_name)
        if error is None or foreign_key is None:
            return error
        rows = await self._session.execute(_select_referenced_ids(foreign_key, ids))
        referenced_ids = {row["id"] for row in rows}
        positions = [index for index, row_id in enumerate(ids) if row_id in referenced_ids]
        if not positions:
            # The other rows have been deleted by now, so a retry may succeed.
            return error
        pointers = [json_pointer(_IDS_FIELD, position) for position in positions[:MAX_POINTERS]]
        return type(error)(f"{error}: {', '.join(pointers)}")


def _require_distinct_ids(ids: Sequence[Any]) -> None:
    """Raise `InvalidRequest` with a pointer to each id that occurs earlier in the list.

    A repeated id is probably a mistake of the client, for which another id is missing.
    """
    field_errors = []
    seen_ids = set()
    for index, row_id in enumerate(ids):
        if row_id in seen_ids:
            pointer = json_pointer(_IDS_FIELD, index)
            detail = "Must not be repeated"
            field_errors.append(FieldError(pointer=pointer, code="repeated_id", detail=detail))
        seen_ids.add(row_id)
    if field_errors:
        raise InvalidRequest(*field_errors)


@cached_statement
def _delete_rows(statements: Statements, scope_filter_names: frozenset[str]) -> sa.Executable:
    """Return the statement that deletes the rows with the ids `:row_ids`, and returns their ids.

        WITH locked_rows AS (
            SELECT id FROM books WHERE id = ANY (:row_ids) ORDER BY id FOR UPDATE
        )
        DELETE FROM books USING locked_rows
        WHERE books.id = locked_rows.id
            AND (SELECT count(*) FROM locked_rows) = cardinality(:row_ids)
        RETURNING books.id

    It deletes nothing if one of the rows does not exist or does not match the scope filters, or if
    many rows would be deleted with them (see `_dependents.py`).
    """
    table = statements.table
    locked_rows = _select_locked_rows(statements, scope_filter_names).cte("locked_rows")
    locked_count = sa.select(sa.func.count()).select_from(locked_rows).scalar_subquery()
    row_ids = _row_ids_parameter(table)
    statement = sa.delete(table).where(
        table.c.id == locked_rows.c.id,
        locked_count == sa.func.cardinality(row_ids),
        *have_few_dependents(table, row_ids),
    )
    return mark_reusable(statement.returning(table.c.id))


@cached_statement
def _lock_rows(statements: Statements, scope_filter_names: frozenset[str]) -> Select:
    """Return the statement that locks the rows with the ids `:row_ids`, in the order of the ids."""
    return _select_locked_rows(statements, scope_filter_names)


@cached_statement
def _select_existing_ids(statements: Statements, scope_filter_names: frozenset[str]) -> Select:
    """Return the statement that selects those of the ids `:row_ids` that visible rows have."""
    return _select_ids(statements, scope_filter_names)


def _select_locked_rows(statements: Statements, scope_filter_names: frozenset[str]) -> Select:
    """Return the query of the rows with the ids `:row_ids`, which it locks in their order."""
    query = _select_ids(statements, scope_filter_names)
    return query.order_by(statements.table.c.id).with_for_update()


def _select_ids(statements: Statements, scope_filter_names: frozenset[str]) -> Select:
    """Return the query of those of the ids `:row_ids` that rows in the scope have."""
    return sa.select(statements.table.c.id).where(*_row_conditions(statements, scope_filter_names))


def _row_conditions(statements: Statements, scope_filter_names: frozenset[str]) -> list[Condition]:
    """Return the conditions of the rows with the ids `:row_ids` that match the scope filters."""
    has_id = statements.table.c.id == sa.any_(_row_ids_parameter(statements.table))
    return [has_id, *statements.filter_conditions(scope_filter_names)]


def _select_referenced_ids(foreign_key: sa.ForeignKeyConstraint, ids: Sequence[Any]) -> Select:
    """Return the query of those of the ids to whose rows a foreign key refers.

        SELECT id FROM authors WHERE id = ANY (:ids)
            AND EXISTS (SELECT FROM books AS referring WHERE referring.author_id = authors.id)

    If a table refers to itself, rows that are deleted at the same time do not count.
    """
    table = foreign_key.referred_table
    id_array = sa.literal(list(ids), sa.ARRAY(table.c.id.type))
    referring = foreign_key.table.alias("referring")
    conditions = [
        referring.c[element.parent.name] == element.column for element in foreign_key.elements
    ]
    if foreign_key.table is table:
        conditions.append(referring.c.id != sa.all_(id_array))
    referring_rows = sa.select(sa.literal(1)).select_from(referring).where(*conditions)
    is_referenced = referring_rows.correlate(table).exists()
    return sa.select(table.c.id).where(table.c.id == sa.any_(id_array), is_referenced)


def _row_ids_parameter(table: sa.Table) -> sa.BindParameter[Any]:
    """Return the parameter `:row_ids`, an array of ids."""
    return sa.bindparam("row_ids", type_=sa.ARRAY(table.c.id.type))
