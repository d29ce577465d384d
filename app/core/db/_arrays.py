"""Passes many rows to a statement as one array per column, which the statement reads like a table.

SELECT new_rows.id, new_rows.name FROM unnest(:ids, :names) AS new_rows (id, name)
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Column = sa.ColumnElement[Any]


def unnest_arrays(
    columns: Sequence[Column], arrays: Sequence[Column], alias: str
) -> sa.TableValuedAlias:
    """Return `unnest(...)` as a table, so that a statement can select from arrays.

    With the alias "new_rows", for the columns `id` and `name`:

        unnest(:ids, :names) AS new_rows (id, name)

    Args:
        columns: The columns whose names and types the table has.
        arrays: One SQL expression per column, in the same order, with the column's values.
        alias: The name of the table in the statement.
    """
    result_columns = [sa.column(str(column.key), column.type) for column in columns]
    return sa.func.unnest(*arrays).table_valued(*result_columns).render_derived(alias)


def unnest_rows(
    columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], alias: str
) -> sa.TableValuedAlias:
    """Return rows of Python values as a table, so that a statement can select from them.

    Each column becomes one parameter, an array. The rows `[(1, "Ada"), (2, "Grace")]` of the
    columns `id` and `name` become `unnest(:ids, :names)` with `[1, 2]` and `["Ada", "Grace"]`.

    Args:
        columns: The columns whose names and types the table has.
        rows: Tuples with one value per column, in the same order.
        alias: The name of the table in the statement.
    """
    arrays = []
    # `zip(*rows)` would return nothing for an empty `rows`, but each column needs an array.
    for position, column in enumerate(columns):
        values = [row[position] for row in rows]
        arrays.append(sa.literal(values, sa.ARRAY(column.type)))
    return unnest_arrays(columns, arrays, alias)
