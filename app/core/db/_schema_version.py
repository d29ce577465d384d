"""The check of readiness: does the database respond, and is its schema the expected one?"""

import asyncio
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.db._sessions import AutocommitSession
from app.core.db._sqlstate import find_sqlstate
from app.core.errors import ServiceError

CHECK_TIMEOUT_SECONDS: Final = 1.0
UNDEFINED_TABLE: Final = "42P01"
# Alembic keeps the current revision in a table with one row, for example ("0005",).
_SELECT_REVISION: Final = text("SELECT version_num FROM alembic_version")


async def find_database_problem(session: AutocommitSession, expected_revision: str) -> str | None:
    """Return what is wrong with the database within a second, or None if it is usable.

    Example: "database: its schema is at revision 0004, not at 0005".
    """
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            rows = await session.execute(_SELECT_REVISION)
    except (ServiceError, TimeoutError):
        return "database: does not respond"
    except DBAPIError as error:
        code = find_sqlstate(error)
        if code != UNDEFINED_TABLE:
            return f"database: refuses, with SQLSTATE {code}"
        rows = []
    revision = rows[0]["version_num"] if rows else "none"
    if revision == expected_revision:
        return None
    return f"database: its schema is at revision {revision}, not at {expected_revision}"
