"""Decorators of methods whose results are kept, such as SQL statements that are built once."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

from app.core.db._statement_names import ExecutableT, name_statement

# Keeps the result of a method for each combination of its arguments. The number is bounded because
# clients choose the combinations of filters and sort keys.
cached = lru_cache(maxsize=1024)


def cached_statement(build: Callable[..., ExecutableT]) -> Callable[..., ExecutableT]:
    """Decorate a method of `ListStatements` that builds a statement. Keep and name the statement.

    For example, the name of the statement that `select_page` builds is "books.select_page".
    """

    @cached
    @wraps(build)
    def build_named_statement(statements: Any, *args: Any, **kwargs: Any) -> ExecutableT:
        statement = build(statements, *args, **kwargs)
        return name_statement(statement, f"{statements.table.name}.{build.__name__}")

    return build_named_statement
