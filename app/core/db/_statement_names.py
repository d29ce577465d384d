"""Names of SQL statements for the metrics: the table and the operation, such as "books.insert".

The text of a statement would be a bad name, because clients choose the filters and the sort order
of lists, and each combination has another text. A name is one of few:

    books.select_page        the method of `Statements` that has built the statement
    attempt_counters.insert  the first word and the table of another statement
    other                    a statement without a table of this service
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from app.core.db._models import Base

ExecutableT = TypeVar("ExecutableT", bound=sa.Executable)

UNNAMED: Final = "other"
# A name is derived from this many characters of the SQL. The rest, for example the values of a long
# `IN (...)`, would fill the cache.
_NAMED_PART_LENGTH: Final = 4000
# The name of the execution option that contains the name of a statement.
_NAME_OPTION: Final = "app_statement_name"
# A keyword and the table after it, for example `INSERT INTO books`.
_WRITE: Final = re.compile(r"\b(INSERT|UPDATE|DELETE)\s+(?:INTO\s+|FROM\s+)?\"?(\w+)")
_READ: Final = re.compile(r"\b(?:FROM|JOIN)\s+\"?(\w+)")


def name_statement(statement: ExecutableT, name: str) -> ExecutableT:
    """Return a copy of a statement that has a name, for example "books.select_page"."""
    return statement.execution_options(**{_NAME_OPTION: name})


def find_statement_name(sql: str, execution_options: Mapping[str, Any]) -> str:
    """Return the name of a statement, which is derived from its SQL if it was not named."""
    name: str | None = execution_options.get(_NAME_OPTION)
    if name is not None:
        return name
    return _derive_name(sql[:_NAMED_PART_LENGTH])


# The statements of a service are few. The limit is for those whose text depends on their values.
@lru_cache(maxsize=1024)
def _derive_name(sql: str) -> str:
    """Return a name such as "tokens.select" for the SQL of a statement.

    A query that also writes is named after the first write. Names after a keyword that are not
    tables, for example those of common table expressions, are skipped.
    """
    tables = Base.metadata.tables
    for keyword, table in _WRITE.findall(sql):
        if table in tables:
            return f"{table}.{keyword.lower()}"
    for table in _READ.findall(sql):
        if table in tables:
            return f"{table}.select"
    return UNNAMED
