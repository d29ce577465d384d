"""Passes many rows to a statement as one array per column, which it reads like a table.

SELECT searched.id, searched.name FROM unnest(:ids, :names) AS searched (id, name)
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Column = sa.ColumnElement[Any]


def unnest_arrays(
    columns: Sequence[Column], arrays: Sequence[Column], name: str
) -> sa.TableValuedAlias:
    """Return a table called `name` with the names and types of `columns`.

    `arrays` are SQL expressions with the values of each column, in the same order.
    """
    result_columns = [sa.column(str(column.key), column.type) for column in columns]
    return sa.func.unnest(*arrays).table_valued(*result_columns).render_derived(name)


def unnest_rows(
    columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], name: str
) -> sa.TableValuedAlias:
    """Return a table called `name` of rows, which have one value per column, in the same order."""
    # Unlike `zip(*rows)`, this has an empty array for each column if there are no rows.
    arrays = [
        sa.literal([row[position] for row in rows], sa.ARRAY(column.type))
        for position, column in enumerate(columns)
    ]
    return unnest_arrays(columns, arrays, name)
