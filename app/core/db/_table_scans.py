"""Deletes rows that no index finds, by reading the whole table in batches.

`delete_in_batches` needs an index on the condition. If the column changes with almost every update,
such an index costs more than reading the table now and then.
"""

from collections.abc import Sequence
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
            SELECT kind, digest, ctid, expires_at < now() AS is_due FROM attempt_counters
            WHERE (kind, digest) > (:last_kind, :last_digest)
            ORDER BY kind, digest LIMIT 1000
        ), due AS (
            SELECT ctid FROM attempt_counters
            WHERE ctid = ANY (ARRAY(SELECT ctid FROM batch WHERE is_due)) AND expires_at < now()
            FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM attempt_counters WHERE ctid = ANY (ARRAY(SELECT ctid FROM due))
            RETURNING kind
        )
        SELECT (SELECT count(*) FROM deleted) AS deleted_rows,
            (SELECT count(*) FROM batch) AS read_rows,
            (SELECT kind FROM batch ORDER BY kind DESC, digest DESC LIMIT 1) AS last_kind,
            (SELECT digest FROM batch ORDER BY kind DESC, digest DESC LIMIT 1) AS last_digest

    The condition is checked again, because another transaction may have changed a row since. The
    rows are found by their place in the table (`ctid`), because a join would be slow if the planner
    expects that few rows meet the condition.
    """
    batch = _select_batch(table, condition, last_key, batch_size).cte("batch")
    due_places = sa.select(batch.c.ctid).where(batch.c.is_due)
    due_rows = sa.select(_place(table)).where(_is_at(table, due_places), condition)
    due = due_rows.with_for_update(skip_locked=True).cte("due")
    primary_key = list(table.primary_key)
    deletion = sa.delete(table).where(_is_at(table, sa.select(due.c.ctid)))
    deleted = deletion.returning(primary_key[0]).cte("deleted")

    return sa.select(
        sa.select(sa.func.count()).select_from(deleted).scalar_subquery().label("deleted_rows"),
        sa.select(sa.func.count()).select_from(batch).scalar_subquery().label("read_rows"),
        *_select_last_key(batch, [column.name for column in primary_key]),
    )


def _select_batch(
    table: sa.Table, condition: Condition, last_key: tuple[Any, ...] | None, batch_size: int
) -> sa.Select[Any]:
    """Build the query that reads the rows after a primary key, and says which of them are due."""
    primary_key = list(table.primary_key)
    query = sa.select(*primary_key, _place(table), condition.label("is_due"))
    if last_key is not None:
        last_values = [
            sa.literal(value, column.type)
            for value, column in zip(last_key, primary_key, strict=True)
        ]
        query = query.where(sa.tuple_(*primary_key) > sa.tuple_(*last_values))
    # The limit is not a parameter, because a small limit makes the planner use the index.
    limit = sa.literal_column(str(batch_size), sa.Integer)
    return query.order_by(*primary_key).limit(limit)


def _select_last_key(batch: sa.CTE, key_names: Sequence[str]) -> list[sa.Label[Any]]:
    """Return the columns of the last primary key in a batch, for example `last_kind`."""
    descending_key = [batch.c[name].desc() for name in key_names]
    columns = []
    for name in key_names:
        last_value = sa.select(batch.c[name]).order_by(*descending_key).limit(1)
        columns.append(last_value.scalar_subquery().label(f"last_{name}"))
    return columns


def _place(table: sa.Table) -> sa.ColumnElement[Any]:
    """Return the system column with the place of a row in the table."""
    return sa.literal_column(f"{table.name}.ctid").label("ctid")


def _is_at(table: sa.Table, places: sa.Select[Any]) -> Condition:
    """Return the condition that a row of the table is at one of the places that a query returns."""
    place: sa.ColumnElement[Any] = sa.literal_column(f"{table.name}.ctid")
    return place == sa.func.any(sa.func.array(places.scalar_subquery()))
