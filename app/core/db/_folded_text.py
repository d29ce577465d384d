"""Text without case and accents: the SQL of sort orders and searches, and their indexes.

Functions in the database fold text, so that sorting, searching and comparing give the same results
on every server, whatever its locale. Migrations 0007 and 0008 create them. For example:

    text_sort_key('Émile')          'emile', a separator and 'Émile'
    search_terms('Spider-Man')      'man' 'spider' 'spiderman'
    search_terms_query('spider-m')  ('spider':* & 'm':* | 'spiderm':*)

An index on a function contains its results. A query computes them again for the rows that it sorts
in memory, and for those that it compares with a search after reading them in sort order.
"""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

# The filter that searches by words. An index on words finds its rows, but not in sort order.
SEARCH_FILTER: Final = "q"


def text_sort_key(column_name: str) -> sa.TextClause:
    """Return the term of an index by which lists are sorted by a text column.

        sa.Index("ix_authors_name_sort_key_id", text_sort_key("name"), "id")

    Lists sort every text column in this way. `ListStatements` uses the same expression.
    """
    return sa.text(f'text_sort_key({column_name} COLLATE "C")')


def search_terms(column_name: str) -> sa.TextClause:
    """Return the expression of the index in which `contains_words` finds the words of a column.

        sa.Index("ix_authors_name_terms", search_terms("name"), postgresql_using="gin")

    Without the index, a search would compute the terms of all rows.
    """
    return sa.text(f"search_terms({column_name})")


def contains_words(column: InstrumentedAttribute[str]) -> sa.ColumnElement[bool]:
    """Return the SQL condition of the filter `q`, which searches a column by words.

    `contains_words(Book.title)` is `search_terms(books.title) @@ search_terms_query(:q)`.
    """
    query = sa.func.search_terms_query(sa.bindparam(SEARCH_FILTER, type_=sa.Text))
    return sa.func.search_terms(column).bool_op("@@")(query)


def sort_key_of_text(text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the SQL expression by which a text is sorted, for example the title of a book.

        text_sort_key(books.title COLLATE "C")

    The index that the function `text_sort_key` declares has the same expression. The result of an
    SQL function has the collation of its argument, and "C" compares the keys by code points.
    """
    return sa.func.text_sort_key(text.collate("C"), type_=sa.Text)
