"""Names in the form that Postgres uses: keywords in quotes, and at most 63 characters."""

from typing import Final

from sqlalchemy import Constraint, Index
from sqlalchemy.dialects.postgresql.asyncpg import dialect

_PREPARER: Final = dialect().identifier_preparer  # type: ignore[no-untyped-call]


def quote_identifier(name: str) -> str:
    """Return the name of a table or column for use in SQL text, in quotes if it needs them.

    `books` stays as it is, and `references` becomes `"references"` because it is a keyword.
    """
    return str(_PREPARER.quote(name))


def is_reported_as(constraint: Constraint | Index, reported_name: str) -> bool:
    """Return whether `reported_name` is the name of a constraint or index in errors of Postgres.

    The names differ if the declared name has more than 63 characters, because SQLAlchemy then
    creates the constraint under a shorter name that ends with a digest.
    """
    if not isinstance(constraint.name, str):
        return False
    name_in_database = _PREPARER.truncate_and_render_constraint_name(constraint.name)
    return str(name_in_database) == quote_identifier(reported_name)
