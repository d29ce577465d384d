"""Deletes rows that no index finds, by reading the whole table in batches.

`delete_in_batches` needs an index on the condition. If the column changes with almost every update,
such an index costs more than reading the table now and then.
"""

from functools import partial
from typing import Any

import sqlalchemy as sa

from app.core.db._batch_executor import BATCH_SIZE, BatchExecutor
from app.core.db._listing import Condition
from app.core.db._models import Base, get_table
from app.core.db._sessions import Session


async def delete_by_table_scan(
    session: Session, model: type[Base], condition: Condition, *, batch_size: int = BATCH_SIZE
) -> int:
    """Delete the rows of a table that meet a condition. Return the number of deleted rows.

    Reads all rows in the order of the primary key. Each batch is one short statement, which is
    committed immediately if the session does so. Rows that other transactions have locked are
    skipped, which suits a scheduled job: the next run finds them.

    Args:
        session: Executes the statements.
        model: The mapped class of the table.
        condition: The condition that the rows to delete meet.
        batch_size: The maximum number of rows that a statement reads. Slow batches reduce it.
    """
    table = get_table(model)
    executor = BatchExecutor(session, table, batch_size)
    number_of_deleted_rows = 0
    last_key: tuple[Any, ...] | None = None
    while True:
        statement = partial(_build_batch, table, condition, last_key)
        batch = await executor.execute(statement)
        deleted_rows: int = batch.row["deleted_rows"]
        number_of_deleted_rows += deleted_rows
        if batch.row["read_rows"] < batch.size:
            return number_of_deleted_rows
        last_key = tuple(batch.row[f"last_{column.name}"] for column in table.primary_key)


def _build_batch(
    table: sa.Table, condition: Condition, last_key: tuple[Any, ...] | None, batch_size: int
) -> sa.Executable:
    """Build the statement that reads one batch and deletes the rows that meet the condition.

        WITH batch AS (
            SELECT kind, digest, expires_at < now() AS is_due FROM attempt_counters
            WHERE (kind, digest) > (:last_kind, :last_digest)
            ORDER BY kind, digest LIMIT 1000
        ), due AS (
            SELECT kind, digest FROM attempt_counters JOIN batch USING (kind, digest)
            WHERE batch.is_due AND expires_at < now()
            FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM attempt_counters USING due WHERE ... RETURNING kind
        )
        SELECT (SELECT count(*) FROM deleted) AS deleted_rows,
            (SELECT count(*) FROM batch) AS read_rows,
            (SELECT kind FROM batch ORDER BY kind DESC, digest DESC LIMIT 1) AS last_kind,
            (SELECT digest FROM batch ORDER BY kind DESC, digest DESC LIMIT 1) AS last_digest

    The condition is checked again, because another transaction may have changed a row since.
    """
    primary_key = list(table.primary_key)
    batch = _select_batch(table, condition, last_key, batch_size).cte("batch")
    is_due_in_batch = sa.and_(_has_key_of(table, batch), batch.c.is_due, condition)
    due_rows = sa.select(*primary_key).where(is_due_in_batch)
    due = due_rows.with_for_update(skip_locked=True, of=table).cte("due")
    deletion = sa.delete(table).where(_has_key_of(table, due)).returning(primary_key[0])
    deleted = deletion.cte("deleted")

    columns = [
        sa.select(sa.func.count()).select_from(deleted).scalar_subquery().label("deleted_rows"),
        sa.select(sa.func.count()).select_from(batch).scalar_subquery().label("read_rows"),
    ]
    descending_key = [batch.c[column.name].desc() for column in primary_key]
    for column in primary_key:
        last_value = sa.select(batch.c[column.name]).order_by(*descending_key).limit(1)
        columns.append(last_value.scalar_subquery().label(f"last_{column.name}"))
    return sa.select(*columns)


def _select_batch(
    table: sa.Table, condition: Condition, last_key: tuple[Any, ...] | None, batch_size: int
) -> sa.Select[Any]:
    """Build the query that reads the rows after a primary key, and says which of them are due."""
    primary_key = list(table.primary_key)
    query = sa.select(*primary_key, condition.label("is_due"))
    if last_key is not None:
        last_values = [
            sa.literal(value, column.type)
            for value, column in zip(last_key, primary_key, strict=True)
        ]
        query = query.where(sa.tuple_(*primary_key) > sa.tuple_(*last_values))
    # The limit is not a parameter, because a small limit makes the planner use the index.
    limit = sa.literal_column(str(batch_size), sa.Integer)
    return query.order_by(*primary_key).limit(limit)


def _has_key_of(table: sa.Table, rows: sa.CTE) -> Condition:
    """Return the condition that a row of the table has the primary key of a row of a query."""
    return sa.and_(*(column == rows.c[column.name] for column in table.primary_key))
