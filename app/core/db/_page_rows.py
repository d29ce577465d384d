"""Selects the rows of one page of a list or of a search, in sort order.

The statement for the search `/books?q=garcia&sort=title` has three branches. One of them returns
the page, and Postgres does not execute the other two:

    WITH first_hits AS (
        SELECT * FROM (SELECT * FROM books ORDER BY title, id LIMIT 50) AS first_rows
        WHERE search_terms(title) @@ search_terms_query(:q)
    ), nearby_hits AS (
        SELECT * FROM (
            SELECT * FROM books ORDER BY title, id LIMIT 2000 + 10 * (:limit + :offset)
        ) AS nearby_rows
        WHERE search_terms(title) @@ search_terms_query(:q) LIMIT :limit + :offset
    ), some_hits AS (
        SELECT * FROM books WHERE search_terms(title) @@ search_terms_query(:q) LIMIT 5001
    ), choice AS (
        SELECT CASE
            WHEN (SELECT count(*) FROM first_hits) >= 2
                AND (SELECT count(*) FROM nearby_hits) >= :limit + :offset THEN 'nearby'
            WHEN (SELECT count(*) FROM some_hits) <= 5000 THEN 'few'
            WHEN (SELECT count(*) FROM nearby_hits) >= :limit + :offset THEN 'nearby'
            ELSE 'many'
        END AS branch
    )
    (SELECT * FROM nearby_hits
     WHERE (SELECT branch FROM choice) = 'nearby'
     ORDER BY title, id LIMIT :limit OFFSET :offset)
    UNION ALL
    (SELECT * FROM some_hits
     WHERE (SELECT branch FROM choice) = 'few'
     ORDER BY title, id LIMIT :limit OFFSET :offset)
    UNION ALL
    (SELECT * FROM (
        SELECT * FROM books WHERE search_terms(title) @@ search_terms_query(:q) OFFSET 0
     ) AS all_hits
     WHERE (SELECT branch FROM choice) = 'many'
     ORDER BY title, id LIMIT :limit OFFSET :offset)
    LIMIT 101

- nearby: the first rows in sort order contain enough hits for the page. Postgres reads these rows
  from the index on `title`, and stops when it has the hits up to the end of the page.
- few: the search has up to 5000 hits. Postgres finds them in the index of words, and sorts them.
- many: the search has more hits, but too few for the page are among the first rows. For example,
  titles in Chinese come after all others. Postgres finds the hits in the index of words, and sorts
  them all.

The index of words has to collect all hits before it returns the first one, which takes longer the
more common the word is. Therefore 50 rows are compared with the search first. If at least two of
them are hits, the word is probably common, and Postgres reads the rows in sort order. Otherwise it
uses the index of words, and reads more rows in sort order only if there are too many hits to sort.

The planner cannot choose, because it does not know how many rows contain the words, nor where they
are. With one plan for all searches, it would either read rows in sort order and compute the terms
of each, which are most of the table for a rare word, or sort all hits, which are half of the table
for a common word.

Other filters are conditions of hits, like the words. The first rows in sort order are read without
them, so their number is limited even if few rows match a filter. Only a filter with which an index
in sort order begins, such as the author of books, restricts the rows that are read.

Postgres plans a subquery that has LIMIT or OFFSET by itself, and moves no conditions or sort order
into it. That is why the last branch has `OFFSET 0`. Without it, Postgres could read the rows in
sort order there too.

After a cursor, `some_hits` contains the hits before it too, and the branch `few` selects those
after it. With the condition in the subquery, Postgres would look up all rows after the cursor in
another index, because it overestimates how many rows contain a rare word.
"""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.util import ClauseAdapter

from app.core.db._keyset import SortKey
from app.core.paging import MAX_PAGE_SIZE

Select = sa.Select[Any]
Condition = sa.ColumnElement[bool]
# A word is regarded as common if the first rows in sort order contain this number of hits.
FIRST_ROWS: Final = 50
COMMON_WORD_HITS: Final = 2
# The number of hits of other words up to which they are sorted without reading more of these rows.
FEW_HITS_LIMIT: Final = 5000
# The number of rows that are read in sort order if the word is common or has more hits: a fixed
# number, and a further number for each hit up to the end of the page. Usually, enough hits are
# among them.
NEARBY_ROWS: Final = 2000
NEARBY_ROWS_PER_HIT: Final = 10
# The rows of the largest page, and one more, which shows that there is a next page. The plan of a
# prepared statement does not depend on `:limit`. Without a constant, the planner would expect a
# tenth of the table, and read all authors to join those of a page.
MAX_PAGE_ROWS: Final = MAX_PAGE_SIZE + 1


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
    is_hit: Condition,
    is_after_cursor: Condition | None,
    table: sa.Table,
    sort_keys: Sequence[SortKey],
) -> sa.CompoundSelect[Any]:
    """Sort the hits of a search, which are the rows that contain its words, and select one page.

    The docstring of this module shows the statement.

    Args:
        rows: A query of the rows that match those filters for which an index in sort order exists.
        is_hit: The condition that a row contains the words, and matches the other filters.
        is_after_cursor: The condition that a row comes after the cursor of the request, or None if
            the page starts at an offset. See `sort_and_limit`.
        table: The table in the FROM clause of `rows`.
        sort_keys: The sort order.
    """
    needed_hits: sa.ColumnElement[int] = sa.bindparam("limit", type_=sa.Integer)
    if is_after_cursor is None:
        needed_hits += sa.bindparam("offset", type_=sa.Integer)
    later_rows = rows if is_after_cursor is None else rows.where(is_after_cursor)
    sorted_rows = later_rows.order_by(*order_by_terms(sort_keys, table))
    first_hits = _select_first_hits(sorted_rows, is_hit)
    nearby_hits = _select_nearby_hits(sorted_rows, is_hit, needed_hits)
    # One hit more than the limit shows that there are too many hits to sort in memory.
    some_hits = rows.where(is_hit).limit(_constant(FEW_HITS_LIMIT + 1)).cte("some_hits")
    few_hits = _select_later_hits(some_hits, is_after_cursor)
    all_hits = later_rows.where(is_hit).offset(_constant(0)).subquery("all_hits")

    chosen_branch = _choose_branch(first_hits, nearby_hits, some_hits, needed_hits)
    branches = [
        (sa.select(nearby_hits).where(chosen_branch == _text("nearby")), nearby_hits),
        (few_hits.where(chosen_branch == _text("few")), some_hits),
        (sa.select(all_hits).where(chosen_branch == _text("many")), all_hits),
    ]
    has_cursor = is_after_cursor is not None
    pages = [sort_and_limit(*branch, sort_keys, after_cursor=has_cursor) for branch in branches]
    return sa.union_all(*pages).limit(_constant(MAX_PAGE_ROWS))


def _select_first_hits(sorted_rows: Select, is_hit: Condition) -> sa.CTE:
    """Return the hits among the first rows, which show whether the word is common."""
    first_rows = sorted_rows.limit(_constant(FIRST_ROWS)).subquery("first_rows")
    return _select_where(first_rows, is_hit).cte("first_hits")


def _select_nearby_hits(
    sorted_rows: Select, is_hit: Condition, needed_hits: sa.ColumnElement[int]
) -> sa.CTE:
    """Return the hits among the first rows in sort order, at most as many as the page needs.

    `needed_hits` is the number of hits up to the end of the page. With a cursor, they are counted
    from the cursor.
    """
    row_count = _constant(NEARBY_ROWS) + _constant(NEARBY_ROWS_PER_HIT) * needed_hits
    nearby_rows = sorted_rows.limit(row_count).subquery("nearby_rows")
    # Postgres reads the subquery in its sort order, so these are the first hits.
    return _select_where(nearby_rows, is_hit).limit(needed_hits).cte("nearby_hits")


def _select_later_hits(hits: sa.CTE, is_after_cursor: Condition | None) -> Select:
    """Return the hits after the cursor of the request, or all if it has none."""
    if is_after_cursor is None:
        return sa.select(hits)
    return _select_where(hits, is_after_cursor)


def _constant(number: int) -> sa.ColumnElement[int]:
    """Return a number as part of the SQL text, not as a parameter, so that it can be planned."""
    return sa.literal_column(str(number), sa.Integer)


def _text(text: str) -> sa.ColumnElement[str]:
    """Return a text as part of the SQL text, not as a parameter."""
    return sa.literal_column(f"'{text}'")


def _select_where(source: sa.FromClause, condition: Condition) -> Select:
    """Return a query of the rows of a subquery or CTE that meet a condition on the table."""
    # Make the condition refer to the columns of the subquery.
    return sa.select(source).where(ClauseAdapter(source).traverse(condition))


def _choose_branch(
    first_hits: sa.CTE, nearby_hits: sa.CTE, some_hits: sa.CTE, needed_hits: sa.ColumnElement[int]
) -> sa.ScalarSelect[str]:
    """Return a subquery with the name of the branch to execute: `nearby`, `few` or `many`.

    Postgres evaluates the conditions of a CASE one after the other, and executes only those
    subqueries that they need.
    """
    nearby_is_enough = _count(nearby_hits) >= needed_hits
    branch = sa.case(
        (
            sa.and_(_count(first_hits) >= _constant(COMMON_WORD_HITS), nearby_is_enough),
            _text("nearby"),
        ),
        (_count(some_hits) <= _constant(FEW_HITS_LIMIT), _text("few")),
        (nearby_is_enough, _text("nearby")),
        else_=_text("many"),
    )
    choice = sa.select(branch.label("branch")).cte("choice")
    return sa.select(choice.c.branch).scalar_subquery()


def _count(hits: sa.CTE) -> sa.ScalarSelect[int]:
    """Return a subquery with the number of hits."""
    return sa.select(sa.func.count()).select_from(hits).scalar_subquery()
