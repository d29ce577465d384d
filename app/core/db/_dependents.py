"""Deletes rows together with the rows that depend on them, for example a user's documents.

Postgres deletes dependent rows itself (`ON DELETE CASCADE`), in the statement that deletes the row.
For 100,000 documents, this statement would exceed `statement_timeout`. The statement that deletes
rows therefore does nothing if too many rows depend on them. `delete_with_dependents` then deletes
them in batches.
"""

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from app.core.db._batches import RowsToChange, delete_in_batches
from app.core.db._listing import Condition
from app.core.db._models import Base, Entity, get_table
from app.core.db._sessions import Parameters, Session

# The number of rows of each other entity that Postgres deletes in the statement for the rows
# themselves.
MAX_CASCADED_ROWS: Final = 1000


class Dependent(NamedTuple):
    """An entity whose rows are deleted with the row of another one to which they refer.

    For example, documents are deleted with their owner. `reference` is `documents.owner_id`.
    """

    entity: type[Entity]
    reference: sa.Column[Any]


def has_few_dependents(table: sa.Table) -> list[Condition]:
    """Return the conditions of a DELETE that at most `MAX_CASCADED_ROWS` rows depend on the row.

    There is one condition for each entity whose rows depend on those of the table. For users, one
    of them is:

        NOT EXISTS (SELECT FROM documents WHERE owner_id = users.id OFFSET 1000)
    """
    conditions = []
    for dependent in _list_dependents(table):
        dependent_rows = sa.select(sa.literal(1)).where(dependent.reference == table.c.id)
        conditions.append(~dependent_rows.offset(MAX_CASCADED_ROWS).correlate(table).exists())
    return conditions


def have_few_dependents(table: sa.Table, row_ids: sa.ColumnElement[Any]) -> list[Condition]:
    """Return the conditions that at most `MAX_CASCADED_ROWS` rows depend on all rows of an array.

    `row_ids` is the array of their ids. For users, one of the conditions is:

        NOT EXISTS (SELECT FROM documents WHERE owner_id = ANY (:row_ids) OFFSET 1000)
    """
    conditions = []
    for dependent in _list_dependents(table):
        dependent_rows = sa.select(sa.literal(1)).where(dependent.reference == sa.any_(row_ids))
        conditions.append(~dependent_rows.offset(MAX_CASCADED_ROWS).exists())
    return conditions


async def delete_with_dependents(
    session: Session,
    table: sa.Table,
    row_ids: Sequence[Any],
    lock_statement: sa.Executable,
    delete_statement: sa.Executable,
    parameters: Parameters,
) -> bool:
    """Delete rows and all rows that depend on them. Return False if the rows do not exist.

    All statements run in one transaction. Does nothing for a table on whose rows no entity depends.

    Args:
        session: Begins the transaction.
        table: The table of the rows.
        row_ids: The ids of the rows.
        lock_statement: Selects and locks the rows, so that no more rows can refer to them.
        delete_statement: Deletes the rows, and returns their ids.
        parameters: The parameters of both statements.
    """
    dependents = _list_dependents(table)
    if not dependents:
        return False

    async def delete_all(transaction: Session) -> bool:
        """Delete the dependent rows, and then the rows."""
        if not await transaction.execute(lock_statement, parameters):
            return False
        for dependent, row_id in product(dependents, row_ids):
            rows = RowsToChange(
                dependent.entity,
                dependent.reference == row_id,
                # An index has both columns, because the rows of an owner are listed in this order.
                order_by=dependent.entity.created_at,
                wait_for_locks=True,
            )
            await delete_in_batches(transaction, rows)
        return len(await transaction.execute(delete_statement, parameters)) > 0

    return await session.run_in_transaction(delete_all)


@cache
def _list_dependents(table: sa.Table) -> list[Dependent]:
    """Return the entities whose rows are deleted with a row of the table.

    For users, they are documents and tokens. Other tables, such as `document_usage`, are left out,
    because few of their rows refer to each row of the table.
    """
    dependents = []
    for mapper in Base.registry.mappers:
        if issubclass(mapper.class_, Entity):
            dependents += [
                Dependent(mapper.class_, foreign_key.parent)
                for foreign_key in get_table(mapper.class_).foreign_keys
                if _cascades_from(foreign_key, table)
            ]
    return sorted(dependents, key=lambda dependent: str(dependent.reference))


def _cascades_from(foreign_key: sa.ForeignKey, table: sa.Table) -> bool:
    """Return whether deleting a row of the table deletes the rows that refer to it."""
    is_cascading = (foreign_key.ondelete or "").upper() == "CASCADE"
    return is_cascading and foreign_key.column.table is table
