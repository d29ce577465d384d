"""Passes any number of rows to an SQL statement, as one array parameter per column.

The statement reads the arrays `[1, 2]` and `["Ada", "Grace"]` as a table with two rows:

    SELECT new_rows.id, new_rows.name FROM unnest(:ids, :names) AS new_rows (id, name)

Its text is the same for any number of rows, so Postgres can reuse the prepared statement.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Column = sa.ColumnElement[Any]


def unnest_arrays(
    columns: Sequence[Column], column_arrays: Sequence[Column], table_alias: str
) -> sa.TableValuedAlias:
    """Return the FROM clause element that reads SQL arrays as a table, one array per column.

    The table of the columns `id` and `name`, with the alias "new_rows", is

        unnest(:ids, :names) AS new_rows (id, name)

    Args:
        columns: The columns whose names and types the table has.
        column_arrays: The array of each column, in the same order, as an SQL expression such as
            the parameter `:ids`.
        table_alias: The name of the table in the statement.
    """
    unnested_columns = [sa.column(str(column.key), column.type) for column in columns]
    unnested_table = sa.func.unnest(*column_arrays).table_valued(*unnested_columns)
    # Without `render_derived`, SQLAlchemy omits the column names after the alias.
    return unnested_table.render_derived(table_alias)


def unnest_rows(
    columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], table_alias: str
) -> sa.TableValuedAlias:
    """Return the FROM clause element that passes rows of Python values to a statement as a table.

    Each column becomes one array parameter. In a table of the columns `id` and `name`, the rows
    `[(1, "Ada"), (2, "Grace")]` become the arrays `[1, 2]` and `["Ada", "Grace"]`:

        unnest(:ids, :names) AS new_rows (id, name)

    Args:
        columns: The columns whose names and types the table has.
        rows: Tuples with one value per column, in the order of the columns.
        table_alias: The name of the table in the statement.
    """
    column_arrays = []
    # If `rows` is empty, each column needs an empty array, which `zip(*rows)` would not return.
    for column_index, column in enumerate(columns):
        column_values = [row[column_index] for row in rows]
        column_arrays.append(sa.literal(column_values, sa.ARRAY(column.type)))
    return unnest_arrays(columns, column_arrays, table_alias)
