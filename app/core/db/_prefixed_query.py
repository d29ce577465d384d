"""SELECT statements after keywords that SQLAlchemy does not support, such as EXPLAIN."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.base import Generative
from sqlalchemy.sql.compiler import SQLCompiler


class PrefixedQuery(Generative, sa.Executable, sa.ClauseElement):
    """A SELECT statement with a prefix that SQLAlchemy does not support, such as EXPLAIN.

    `PrefixedQuery("EXPLAIN (FORMAT JSON)", select(Book.id))` is the statement

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
    """Return the SQL text of a `PrefixedQuery`, for example `EXPLAIN SELECT ...`.

    SQLAlchemy calls this function, which the decorator registers, to compile the statement.
    """
    query_text = compiler.process(statement.query, **compiler_options)
    return f"{statement.prefix} {query_text}"
