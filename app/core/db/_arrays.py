"""Passes many rows to a statement as one array per column, which the statement reads like a table.

SELECT new_rows.id, new_rows.name FROM unnest(:ids, :names) AS new_rows (id, name)
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Column = sa.ColumnElement[Any]


def unnest_arrays(
    columns: Sequence[Column], column_arrays: Sequence[Column], table_alias: str
) -> sa.TableValuedAlias:
    """Return a table that a statement can select from, made of one SQL array per column.

    For the columns `id` and `name` and the alias "new_rows", the table is

        unnest(:ids, :names) AS new_rows (id, name)

    Args:
        columns: The columns whose names and types the table has.
        column_arrays: For each column, in the same order, an SQL expression for the array of its
            values, such as `:ids`.
        table_alias: The name of the table in the statement.
    """
    unnested_columns = [sa.column(str(column.key), column.type) for column in columns]
    unnested_table = sa.func.unnest(*column_arrays).table_valued(*unnested_columns)
    # Without `render_derived`, SQLAlchemy omits the column names after the alias.
    return unnested_table.render_derived(table_alias)


def unnest_rows(
    columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], table_alias: str
) -> sa.TableValuedAlias:
    """Return a table that a statement can select from, made of rows of Python values.

    Each column becomes one array parameter. For the columns `id` and `name`, the rows
    `[(1, "Ada"), (2, "Grace")]` become the arrays `[1, 2]` and `["Ada", "Grace"]`:

        unnest(:ids, :names) AS new_rows (id, name)

    Args:
        columns: The columns whose names and types the table has.
        rows: Tuples with one value per column, in the order of the columns.
        table_alias: The name of the table in the statement.
    """
    column_arrays = []
    # `zip(*rows)` would return nothing for an empty `rows`, but each column needs an array.
    for column_index, column in enumerate(columns):
        column_values = [row[column_index] for row in rows]
        column_arrays.append(sa.literal(column_values, sa.ARRAY(column.type)))
    return unnest_arrays(columns, column_arrays, table_alias)
