"""Names as Postgres has them in SQL."""

from typing import Final

from sqlalchemy.dialects.postgresql.asyncpg import dialect

_PREPARER: Final = dialect().identifier_preparer  # type: ignore[no-untyped-call]


def quote(name: str) -> str:
    """Return a name for SQL text: `books`, but `"references"`, which is a keyword."""
    return str(_PREPARER.quote(name))
