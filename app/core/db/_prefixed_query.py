"""A SELECT statement after SQL keywords that SQLAlchemy has no construct for."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class PrefixedQuery(sa.Executable, sa.ClauseElement):
    """A SELECT statement after keywords for which SQLAlchemy has no construct.

    `PrefixedQuery("EXPLAIN (FORMAT JSON)", select(Book.id))` executes

        EXPLAIN (FORMAT JSON) SELECT books.id FROM books
    """

    # SQLAlchemy must not cache the SQL text, because its cache key does not contain the prefix.
    inherit_cache = False

    def __init__(self, prefix: str, query: sa.Select[Any]) -> None:
        self.prefix = prefix
        self.query = query


@compiles(PrefixedQuery)
def _compile_prefixed_query(
    statement: PrefixedQuery, compiler: SQLCompiler, **compiler_options: Any
) -> str:
    """Return the SQL text of the statement, for example `EXPLAIN SELECT ...`.

    SQLAlchemy calls this when it compiles a `PrefixedQuery`.
    """
    query_text = compiler.process(statement.query, **compiler_options)
    return f"{statement.prefix} {query_text}"
