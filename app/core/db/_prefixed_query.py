"""A SELECT statement after SQL keywords that SQLAlchemy has no construct for."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class PrefixedQuery(sa.Executable, sa.ClauseElement):
    """A SELECT statement after keywords such as `EXPLAIN` or `DECLARE books CURSOR FOR`."""

    # SQLAlchemy must not cache the SQL text, because its cache key does not contain the prefix.
    inherit_cache = False

    def __init__(self, prefix: str, query: sa.Select[Any]) -> None:
        self.prefix = prefix
        self.query = query


@compiles(PrefixedQuery)
def _compile_prefixed_query(element: PrefixedQuery, compiler: SQLCompiler, **options: Any) -> str:
    """Return the SQL text of the statement, for example `EXPLAIN SELECT ...`."""
    query_text = compiler.process(element.query, **options)
    return f"{element.prefix} {query_text}"
