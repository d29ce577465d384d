"""Delete or update any number of rows in batches, each of which is one short statement.

A single DELETE of a million rows exceeds `statement_timeout`, is rolled back, and fails in the same
way every time. A batch that succeeds is committed, so the next attempt has less to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from app.core.db._batch_executor import BATCH_SIZE, BatchExecutor
from app.core.db._listing import Condition
from app.core.db._models import Base, get_table
from app.core.db._sessions import Session


@dataclass(frozen=True)
class RowsToChange:
    """The rows that `delete_in_batches` or `update_in_batches` changes.

    Args:
        model: The mapped class of the table.
        condition: The condition that the rows meet. Rows that no longer meet it when their batch is
            executed are left alone.
        order_by: The column by which the rows are sorted, in descending order. An index has to
            begin with it, or with columns that the condition compares with a constant.
        wait_for_locks: Whether to wait for rows that other transactions have locked. Otherwise they
            are skipped, which suits a scheduled job: concurrent jobs do not block each other, and
            the next run finds the rows that are left.
    """

    model: type[Base]
    condition: Condition
    order_by: InstrumentedAttribute[Any]
    wait_for_locks: bool = False


async def delete_in_batches(
    session: Session, rows: RowsToChange, *, batch_size: int = BATCH_SIZE
) -> int:
    """Delete rows in batches. Return the number of deleted rows.

    If each statement of the session is committed immediately, so is each batch.

    Args:
        session: Executes the statements.
        rows: The rows to delete.
        batch_size: The maximum number of rows in a batch. Slow batches reduce it.
    """
    return await _change_in_batches(session, rows, None, batch_size)


async def update_in_batches(
    session: Session,
    rows: RowsToChange,
    new_values: Mapping[str, Any],
    *,
    batch_size: int = BATCH_SIZE,
) -> int:
    """Set columns of rows in batches. Return the number of updated rows.

    If each statement of the session is committed immediately, so is each batch.

    Args:
        session: Executes the statements.
        rows: The rows to update. An updated row must no longer meet their condition.
        new_values: The new values by column name.
        batch_size: The maximum number of rows in a batch. Slow batches reduce it.
    """
    return await _change_in_batches(session, rows, new_values, batch_size)


async def _change_in_batches(
    session: Session, rows: RowsToChange, new_values: Mapping[str, Any] | None, batch_size: int
) -> int:
    """Delete rows, or update them if there are new values. Return the number of changed rows."""
    executor = BatchExecutor(session, get_table(rows.model), batch_size)
    number_of_changed_rows = 0
    last_sort_value = None
    while True:
        batch = await executor.execute(partial(_build_batch, rows, new_values, last_sort_value))
        changed_rows: int = batch.row["changed_rows"]
        number_of_changed_rows += changed_rows
        if changed_rows < batch.size:
            return number_of_changed_rows
        last_sort_value = batch.row["last_sort_value"]


def _build_batch(
    rows: RowsToChange,
    new_values: Mapping[str, Any] | None,
    previous_sort_value: object,
    batch_size: int,
) -> sa.Executable:
    """Build the statement that changes one batch of rows and returns their number.

        WITH batch AS (SELECT id, created_at AS sort_value ...), changed AS (
            DELETE FROM stored_answers USING batch WHERE stored_answers.id = batch.id
            RETURNING stored_answers.id
        )
        SELECT (SELECT count(*) FROM changed) AS changed_rows,
            (SELECT sort_value FROM batch ORDER BY sort_value LIMIT 1) AS last_sort_value

    `_select_batch` builds the query of the batch.
    """
    batch = _select_batch(rows, previous_sort_value, batch_size).cte("batch")
    table = get_table(rows.model)
    primary_key = list(table.primary_key)
    is_in_batch = sa.and_(*(column == batch.c[column.name] for column in primary_key))
    change: sa.Delete | sa.Update = sa.delete(table)
    if new_values is not None:
        change = sa.update(table).values(**new_values)
    changed = change.where(is_in_batch).returning(primary_key[0]).cte("changed")

    changed_rows = sa.select(sa.func.count()).select_from(changed)
    last_sort_value = sa.select(batch.c.sort_value).order_by(batch.c.sort_value).limit(1)
    return sa.select(
        changed_rows.scalar_subquery().label("changed_rows"),
        last_sort_value.scalar_subquery().label("last_sort_value"),
    )


def _select_batch(
    rows: RowsToChange, previous_sort_value: object, batch_size: int
) -> sa.Select[Any]:
    """Build the query that selects and locks one batch of rows.

        SELECT id, created_at AS sort_value FROM stored_answers
        WHERE created_at <= now() - interval '24 hours' AND created_at <= :previous_sort_value
        ORDER BY created_at DESC LIMIT 1000
        FOR UPDATE SKIP LOCKED

    It continues from the last row of the batch before, and includes rows with the same sort value.
    If it began at the end of the index instead, it would read the entries of all deleted rows
    again, until VACUUM removes them. The descending order serves the same purpose: the rows that
    became due since the last run precede the entries that the last run has left behind.
    """
    sort_column = rows.order_by
    primary_key = get_table(rows.model).primary_key
    query = sa.select(*primary_key, sort_column.label("sort_value")).where(rows.condition)
    if previous_sort_value is not None:
        query = query.where(sort_column <= previous_sort_value)
    # The limit is not a parameter, because a small limit makes the planner use the index even if
    # its statistics are outdated.
    limit = sa.literal_column(str(batch_size), sa.Integer)
    query = query.order_by(sort_column.desc()).limit(limit)
    return query.with_for_update(skip_locked=not rows.wait_for_locks)
