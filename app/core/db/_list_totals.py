"""The number of rows in a whole list, which is selected together with a page of the list."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from app.core.db._keyset import SortKey
from app.core.db._page_rows import order_by_terms
from app.core.paging import MAX_BOUNDED_TOTAL

Select = sa.Select[Any]
# The name of the column with the number of rows in a list. It is not `total`, because a column of
# the table may have this name.
TOTAL_COLUMN: Final = "list__total"


class ListTotal(NamedTuple):
    """The number of rows in a list, or None if it is unknown.

    Args:
        rows: The number of rows, which may be an estimate.
        at_least: The number of rows that were counted, if the list has more than the bound.
    """

    rows: int | None
    at_least: int | None = None


def bound_total(row_count: int) -> ListTotal:
    """Return the total of a list for the result of a bounded count."""
    if row_count > MAX_BOUNDED_TOTAL:
        return ListTotal(None, at_least=row_count)
    return ListTotal(row_count)


def count_rows(
    table: sa.Table, conditions: Sequence[sa.ColumnElement[bool]], *, is_bounded: bool
) -> sa.Subquery:
    """Return a subquery that counts the rows of a table that meet all conditions.

        SELECT count(*) AS list__total FROM (SELECT 1 FROM books LIMIT 100001) AS counted

    Only a bounded count has the limit, so its result is at most one more than `MAX_BOUNDED_TOTAL`.
    """
    rows: Select = sa.select(sa.literal_column("1")).select_from(table).where(*conditions)
    if is_bounded:
        rows = rows.limit(sa.literal_column(str(MAX_BOUNDED_TOTAL + 1), sa.Integer))
    counted = rows.subquery("counted")
    return sa.select(sa.func.count().label(TOTAL_COLUMN)).select_from(counted).subquery("count")


def join_total(items: Select, count: sa.Subquery, sort_keys: Sequence[SortKey]) -> Select:
    """Add the number of rows in the whole list to each row of a page.

        SELECT * FROM (SELECT count(*) AS list__total FROM ...) AS count
        LEFT JOIN (...) AS item ON true
        ORDER BY item.title, item.id

    `items` is the query inside the parentheses, which selects the rows of the page.

    A page past the end of the list has one row: its total is set, and its other columns are NULL.
    Without the outer join, it would have no row, and the total would be unknown.
    """
    item = items.subquery("item")
    count_with_items = count.outerjoin(item, sa.true())
    statement = sa.select(*count.c, *item.c).select_from(count_with_items)
    return statement.order_by(*order_by_terms(sort_keys, item))
