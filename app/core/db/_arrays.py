"""Rows of parameters in a statement: `unnest(:ids, :names) AS searched (id, name)`."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Column = sa.ColumnElement[Any]


def unnest(columns: Sequence[Column], arrays: Sequence[Column], name: str) -> sa.TableValuedAlias:
    """Return a table with this name and the names of `columns`, from one array for each of them."""
    elements = [sa.column(str(column.key), column.type) for column in columns]
    return sa.func.unnest(*arrays).table_valued(*elements).render_derived(name)


def unnest_values(
    columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], name: str
) -> sa.TableValuedAlias:
    """Return a table of these rows. Each row has a value for each column."""
    arrays = [
        sa.literal([row[position] for row in rows], sa.ARRAY(column.type))
        for position, column in enumerate(columns)
    ]
    return unnest(columns, arrays, name)
