"""Selects the rows of one page of a list or of a search, in sort order.

The statement for the search `/books?q=garcia` has two branches, of which Postgres executes one:

    WITH hits AS (
        SELECT * FROM books WHERE search_terms(title) @@ search_terms_query(:q) LIMIT 5001
    )
    (SELECT * FROM hits WHERE (SELECT count(*) FROM hits) <= 5000
     ORDER BY created_at, id LIMIT :limit OFFSET :offset)
    UNION ALL
    (SELECT * FROM books
     WHERE (search_terms(title) @@ search_terms_query(:q)) IS true
         AND (SELECT count(*) FROM hits) > 5000
     ORDER BY created_at, id LIMIT :limit OFFSET :offset)

- If the search has up to 5000 hits, the first branch sorts them in memory.
- If it has more, the second branch reads books in the order of the index on `created_at`, and stops
  when it has found enough hits for the page.

The planner does not know how many rows contain the words. Without the branches, it would read most
of the table for a rare word, or sort half of the table for a common word. `IS true` keeps it from
reading the second branch from the index of words.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from app.core.db._keyset import SortKey

Select = sa.Select[Any]
# Rows. If a million rows have more hits than this, one row in 200 or more is a hit. Computing the
# terms of rows in sort order until a page is full then takes less time than sorting all hits.
SORT_IN_MEMORY_LIMIT: Final = 5000


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

    A query of books gets the clauses `ORDER BY title, id LIMIT :limit OFFSET :offset`.

    Args:
        query: The query to change.
        source: The table or CTE in the FROM clause of the query.
        sort_keys: The sort order.
        after_cursor: Whether the WHERE clause of the query already excludes the rows of earlier
            pages, by comparing them with a cursor. The query then gets no OFFSET.
    """
    sorted_query = query.order_by(*order_by_terms(sort_keys, source))
    limited_query = sorted_query.limit(sa.bindparam("limit", type_=sa.Integer))
    if after_cursor:
        return limited_query
    return limited_query.offset(sa.bindparam("offset", type_=sa.Integer))


def sort_and_limit_search(
    rows: Select,
    is_hit: sa.ColumnElement[bool],
    table: sa.Table,
    sort_keys: Sequence[SortKey],
    *,
    after_cursor: bool,
) -> sa.CompoundSelect[Any]:
    """Sort the hits of a search, which are the rows that contain its words, and select one page.

    The docstring of this module shows the statement.

    Args:
        rows: A query of the rows that match the other filters of the list.
        is_hit: The condition that a row contains the words.
        table: The table in the FROM clause of `rows`.
        sort_keys: The sort order.
        after_cursor: Whether `rows` excludes the rows of earlier pages. See `sort_and_limit`.
    """
    # One hit more than the limit shows that there are too many hits to sort in memory.
    max_first_hits = sa.literal_column(str(SORT_IN_MEMORY_LIMIT + 1), sa.Integer)
    first_hits = rows.where(is_hit).limit(max_first_hits).cte("hits")
    hit_count = sa.select(sa.func.count()).select_from(first_hits).scalar_subquery()
    has_few_hits = hit_count <= SORT_IN_MEMORY_LIMIT
    few_hits = sa.select(first_hits).where(has_few_hits)
    many_hits = rows.where(is_hit.is_(sa.true()), sa.not_(has_few_hits))
    return sa.union_all(
        sort_and_limit(few_hits, first_hits, sort_keys, after_cursor=after_cursor),
        sort_and_limit(many_hits, table, sort_keys, after_cursor=after_cursor),
    )
