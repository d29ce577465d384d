"""Selects the rows of one page: sorted, limited, and searched by one of two plans."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._keyset import SortKey

Select = sa.Select[Any]
SORT_IN_MEMORY_LIMIT: Final = 1000  # rows


def order_by_terms(
    sort_keys: Sequence[SortKey], source: sa.FromClause
) -> list[sa.ColumnElement[Any]]:
    """Return the terms of an ORDER BY clause, for example `[books.title DESC, books.id DESC]`.

    `source` is the table, subquery or CTE to which the columns belong.
    """
    return [key.order_by_term(source) for key in sort_keys]


def sort_and_limit(
    query: Select, source: sa.FromClause, sort_keys: Sequence[SortKey], *, after_cursor: bool
) -> Select:
    """Sort the rows of a query, and select only those of one page.

    Adds `ORDER BY title, id LIMIT :limit OFFSET :offset`.

    Args:
        query: The query to change.
        source: The table or CTE in the FROM clause of the query.
        sort_keys: The sort order.
        after_cursor: Whether the query already excludes the rows before the page by comparing them
            with a cursor. It then needs no OFFSET.
    """
    sorted_query = query.order_by(*order_by_terms(sort_keys, source))
    limited_query = sorted_query.limit(sa.bindparam("limit", type_=sa.Integer))
    if after_cursor:
        return limited_query
    return limited_query.offset(sa.bindparam("offset", type_=sa.Integer))


def sort_and_limit_search(
    matches: Select, table: sa.Table, sort_keys: Sequence[SortKey], *, after_cursor: bool
) -> sa.CompoundSelect[Any]:
    """Sort the rows that match a search, and select only those of one page.

    For `/books?q=garcia&sort=title`:

        WITH hits AS (
            SELECT * FROM books WHERE search @@ search_query(:q) LIMIT 1001
        )
        (SELECT * FROM hits WHERE (SELECT count(*) FROM hits) <= 1000
         ORDER BY title, id LIMIT :limit OFFSET :offset)
        UNION ALL
        (SELECT * FROM books
         WHERE search @@ search_query(:q) AND (SELECT count(*) FROM hits) > 1000
         ORDER BY title, id LIMIT :limit OFFSET :offset)

    Postgres executes only the branch whose condition on the count is true. If there are up to 1000
    matches, the first branch sorts them in memory. Otherwise, the second branch reads the index on
    the sort keys, in which matches are frequent enough to fill a page soon.

    The planner cannot make this choice: it overestimates the frequency of a rare word, and would
    read most of the table in sort order to find one page of matches.
    """
    # One row more than the limit shows that there are too many rows to sort in memory.
    max_hits = sa.literal_column(str(SORT_IN_MEMORY_LIMIT + 1), sa.Integer)
    hits = matches.limit(max_hits).cte("hits")
    number_of_hits = sa.select(sa.func.count()).select_from(hits).scalar_subquery()
    is_rare = number_of_hits <= SORT_IN_MEMORY_LIMIT
    rare_matches = sa.select(hits).where(is_rare)
    frequent_matches = matches.where(sa.not_(is_rare))
    return sa.union_all(
        sort_and_limit(rare_matches, hits, sort_keys, after_cursor=after_cursor),
        sort_and_limit(frequent_matches, table, sort_keys, after_cursor=after_cursor),
    )
