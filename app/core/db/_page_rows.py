"""Selects the rows of one page of a list or of a search, in sort order.

The statement for the search `/books?q=garcia&sort=title` has three branches. One of them returns
the page, and Postgres does not execute the other two:

    WITH hits AS (
        SELECT * FROM books WHERE search_terms(title) @@ search_terms_query(:q) LIMIT 5001
    ), nearby_hits AS (
        SELECT * FROM (
            SELECT * FROM books ORDER BY title, id LIMIT 2000 + 10 * (:limit + :offset)
        ) AS nearby_rows
        WHERE search_terms(title) @@ search_terms_query(:q) LIMIT :limit + :offset
    ), choice AS (
        SELECT CASE
            WHEN count(*) <= 5000 THEN 'few'
            WHEN (SELECT count(*) FROM nearby_hits) >= :limit + :offset THEN 'nearby'
            ELSE 'many'
        END AS branch FROM hits
    )
    (SELECT * FROM hits
     WHERE (SELECT branch FROM choice) = 'few'
     ORDER BY title, id LIMIT :limit OFFSET :offset)
    UNION ALL
    (SELECT * FROM nearby_hits
     WHERE (SELECT branch FROM choice) = 'nearby'
     ORDER BY title, id LIMIT :limit OFFSET :offset)
    UNION ALL
    (SELECT * FROM (
        SELECT * FROM books WHERE search_terms(title) @@ search_terms_query(:q) OFFSET 0
     ) AS all_hits
     WHERE (SELECT branch FROM choice) = 'many'
     ORDER BY title, id LIMIT :limit OFFSET :offset)

- few: the search has up to 5000 hits. They are sorted in memory.
- nearby: the search has more hits, and the first rows in sort order contain enough of them for the
  page. Postgres reads these rows from the index on `title`, and stops when it has the hits up to
  the end of the page.
- many: the search has more hits, but too few for the page are among the first rows. For example,
  titles in Chinese come after all others. Postgres finds the hits in the index of words, and sorts
  them all.

The planner does not know how many rows contain the words, nor where they are. With one plan for all
searches, it would either read rows in sort order and compute the terms of each, which are most of
the table for a rare word, or sort all hits, which are half of the table for a common word.

Postgres plans a subquery that has LIMIT or OFFSET by itself, and moves no conditions or sort order
into it. That is why the last branch has `OFFSET 0`. Without it, Postgres could read the rows in
sort order there too.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.util import ClauseAdapter

from app.core.db._keyset import SortKey

Select = sa.Select[Any]
# The number of hits up to which they are sorted without a search of the first rows in sort order.
FEW_HITS_LIMIT: Final = 5000
# If there are more hits, this number of the first rows in sort order is searched: a fixed number,
# and a further number for each hit up to the end of the page. Usually, a common word has enough
# hits among them.
NEARBY_ROWS: Final = 2000
NEARBY_ROWS_PER_HIT: Final = 10


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
    max_hits = sa.literal_column(str(FEW_HITS_LIMIT + 1), sa.Integer)
    some_hits = rows.where(is_hit).limit(max_hits).cte("hits")
    needed_hits: sa.ColumnElement[int] = sa.bindparam("limit", type_=sa.Integer)
    if not after_cursor:
        needed_hits += sa.bindparam("offset", type_=sa.Integer)
    nearby_hits = _select_nearby_hits(rows, is_hit, table, sort_keys, needed_hits)
    all_hits = rows.where(is_hit).offset(sa.literal_column("0", sa.Integer)).subquery("all_hits")

    chosen_branch = _choose_branch(some_hits, nearby_hits, needed_hits)
    branches = []
    for name, hits in (("few", some_hits), ("nearby", nearby_hits), ("many", all_hits)):
        query = sa.select(hits).where(chosen_branch == sa.literal_column(f"'{name}'"))
        branches.append(sort_and_limit(query, hits, sort_keys, after_cursor=after_cursor))
    return sa.union_all(*branches)


def _select_nearby_hits(
    rows: Select,
    is_hit: sa.ColumnElement[bool],
    table: sa.Table,
    sort_keys: Sequence[SortKey],
    needed_hits: sa.ColumnElement[int],
) -> sa.CTE:
    """Return the hits among the first rows in sort order, at most as many as the page needs.

    `needed_hits` is the number of hits up to the end of the page. With a cursor, they are counted
    from the cursor.
    """
    fixed_number = sa.literal_column(str(NEARBY_ROWS), sa.Integer)
    number_per_hit = sa.literal_column(str(NEARBY_ROWS_PER_HIT), sa.Integer)
    sorted_rows = rows.order_by(*order_by_terms(sort_keys, table))
    row_count = fixed_number + number_per_hit * needed_hits
    nearby_rows = sorted_rows.limit(row_count).subquery("nearby_rows")
    # The condition refers to columns of the table. Make it refer to those of the subquery.
    is_nearby_hit = ClauseAdapter(nearby_rows).traverse(is_hit)
    # Postgres reads the subquery in its sort order, so these are the first hits.
    return sa.select(nearby_rows).where(is_nearby_hit).limit(needed_hits).cte("nearby_hits")


def _choose_branch(
    some_hits: sa.CTE, nearby_hits: sa.CTE, needed_hits: sa.ColumnElement[int]
) -> sa.ScalarSelect[str]:
    """Return a subquery with the name of the branch to execute: `few`, `nearby` or `many`."""
    nearby_count = sa.select(sa.func.count()).select_from(nearby_hits).scalar_subquery()
    branch = sa.case(
        (sa.func.count() <= FEW_HITS_LIMIT, sa.literal_column("'few'")),
        (nearby_count >= needed_hits, sa.literal_column("'nearby'")),
        else_=sa.literal_column("'many'"),
    )
    choice = sa.select(branch.label("branch")).select_from(some_hits).cte("choice")
    return sa.select(choice.c.branch).scalar_subquery()
