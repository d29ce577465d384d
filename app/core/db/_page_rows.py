"""Selects the rows of one page of a list or of a search, in sort order."""

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
    all_hits: Select, table: sa.Table, sort_keys: Sequence[SortKey], *, after_cursor: bool
) -> sa.CompoundSelect[Any]:
    """Sort the hits of a search, which are the rows that contain its words, and select one page.

    `all_hits` is a query of all hits in `table`. The statement for `/books?q=garcia&sort=title` is

        WITH hits AS (
            SELECT * FROM books WHERE search @@ search_query(:q) LIMIT 1001
        )
        (SELECT * FROM hits WHERE (SELECT count(*) FROM hits) <= 1000
         ORDER BY title, id LIMIT :limit OFFSET :offset)
        UNION ALL
        (SELECT * FROM books
         WHERE search @@ search_query(:q) AND (SELECT count(*) FROM hits) > 1000
         ORDER BY title, id LIMIT :limit OFFSET :offset)

    Postgres executes only one of the two branches:

    - If the search has up to 1000 hits, the first branch sorts them in memory.
    - If it has more, the second branch reads books in the order of the index on `title`, and stops
      when it has found enough hits for the page.

    Without the branches, the planner would often choose the second way for a rare word, because it
    expects too many hits, and read most of the table.
    """
    # One hit more than the limit shows that there are too many hits to sort in memory.
    max_first_hits = sa.literal_column(str(SORT_IN_MEMORY_LIMIT + 1), sa.Integer)
    first_hits = all_hits.limit(max_first_hits).cte("hits")
    number_of_first_hits = sa.select(sa.func.count()).select_from(first_hits).scalar_subquery()
    has_few_hits = number_of_first_hits <= SORT_IN_MEMORY_LIMIT
    few_hits = sa.select(first_hits).where(has_few_hits)
    many_hits = all_hits.where(sa.not_(has_few_hits))
    return sa.union_all(
        sort_and_limit(few_hits, first_hits, sort_keys, after_cursor=after_cursor),
        sort_and_limit(many_hits, table, sort_keys, after_cursor=after_cursor),
    )
