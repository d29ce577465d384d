"""Names in the form that Postgres uses: keywords in quotes, and at most 63 characters."""

from typing import Final

from sqlalchemy import Constraint, Index
from sqlalchemy.dialects.postgresql.asyncpg import dialect

# SQLAlchemy does not declare the type of `dialect`.
_IDENTIFIER_PREPARER: Final = dialect().identifier_preparer  # type: ignore[no-untyped-call]


def quote_identifier(name: str) -> str:
    """Return the name of a table or column for use in SQL text, in quotes if it needs them.

    The name `books` stays as it is, and `references` becomes `"references"`, because it is a
    keyword of SQL.
    """
    return str(_IDENTIFIER_PREPARER.quote(name))


def matches_reported_name(constraint: Constraint | Index, reported_name: str) -> bool:
    """Return whether a constraint or index has the name that Postgres reports in an error.

    The names are equal unless the declared name has more than 63 characters, the limit of Postgres.
    SQLAlchemy then creates the constraint under a shortened name, which ends with a digest of the
    declared one, and Postgres reports the shortened name.
    """
    if not isinstance(constraint.name, str):
        # SQLAlchemy does not know the name that Postgres has chosen for an unnamed constraint.
        return False
    created_name = _IDENTIFIER_PREPARER.truncate_and_render_constraint_name(constraint.name)
    # SQLAlchemy returns the name in quotes if it needs them. Postgres reports it without quotes.
    return str(created_name) == quote_identifier(reported_name)
