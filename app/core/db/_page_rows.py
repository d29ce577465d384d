"""Selects the rows of one page: sorted, limited, and searched by one of two plans."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._keyset import SortKey

Select = sa.Select[Any]
SORT_IN_MEMORY_LIMIT: Final = 1000  # rows


def order_by(sort_keys: Sequence[SortKey], source: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """Return the terms of ORDER BY, for example `[books.title DESC, books.id DESC]`."""
    return [key.order_by(source) for key in sort_keys]


def sort_and_limit(
    query: Select, source: sa.FromClause, sort_keys: Sequence[SortKey], *, after_cursor: bool
) -> Select:
    """Sort a query by columns of `source`, and return only the rows of one page.

    Adds `ORDER BY title, id LIMIT :limit`, and `OFFSET :offset` unless the page starts after a
    cursor. The query then has a condition that excludes the rows before the page.
    """
    sorted_query = query.order_by(*order_by(sort_keys, source))
    limited_query = sorted_query.limit(sa.bindparam("limit", type_=sa.Integer))
    if after_cursor:
        return limited_query
    return limited_query.offset(sa.bindparam("offset", type_=sa.Integer))


def sort_and_limit_search(
    matches: Select, table: sa.Table, sort_keys: Sequence[SortKey], *, after_cursor: bool
) -> sa.CompoundSelect[Any]:
    """Sort the rows that match a search and return one page of them, by one of two plans.

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

    Postgres executes only the branch whose count condition is true. The first branch reads the
    index on words and sorts the few rows in memory. The second reads the index on the sort keys,
    where the matches are frequent enough to fill a page soon.

    The planner cannot make this choice: it overestimates the frequency of a rare word, and would
    read most of the table in sort order to find one page of matches.
    """
    # One row more than the limit, to learn whether there are more.
    hits = matches.limit(sa.literal_column(str(SORT_IN_MEMORY_LIMIT + 1))).cte("hits")
    number_of_hits = sa.select(sa.func.count()).select_from(hits).scalar_subquery()
    is_rare = number_of_hits <= SORT_IN_MEMORY_LIMIT
    rare_matches = sa.select(hits).where(is_rare)
    frequent_matches = matches.where(sa.not_(is_rare))
    return sa.union_all(
        sort_and_limit(rare_matches, hits, sort_keys, after_cursor=after_cursor),
        sort_and_limit(frequent_matches, table, sort_keys, after_cursor=after_cursor),
    )
