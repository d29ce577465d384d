"""Names as Postgres has them: quoted if they are keywords, and cut if they are too long."""

from typing import Final

from sqlalchemy import Constraint, Index
from sqlalchemy.dialects.postgresql.asyncpg import dialect

_PREPARER: Final = dialect().identifier_preparer  # type: ignore[no-untyped-call]


def quote_identifier(name: str) -> str:
    """Return a name for SQL text: `books`, but `"references"`, which is a keyword."""
    return str(_PREPARER.quote(name))


def is_reported_as(constraint: Constraint | Index, name: str) -> bool:
    """Return whether Postgres reports violations of a constraint or index under this name.

    If the declared name has more than 63 characters, its end is replaced by a digest.
    """
    if not isinstance(constraint.name, str):
        return False
    rendered = _PREPARER.truncate_and_render_constraint_name(constraint.name)
    return str(rendered) == quote_identifier(name)
