"""Checks that the database responds and has the schema that this version of the service needs."""

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.db._sessions import AutocommitSession
from app.core.db._sqlstate import find_sqlstate
from app.core.errors import ServiceError

CHECK_TIMEOUT_SECONDS: Final = 1.0
UNDEFINED_TABLE_SQLSTATE: Final = "42P01"
# Alembic keeps the revision of the schema in a table with one row, for example ("0005",).
_SELECT_REVISION: Final = text("SELECT version_num FROM alembic_version")


async def find_database_problem(
    session: AutocommitSession, required_revisions: Sequence[str]
) -> str | None:
    """Return a sentence about the problem with the database, or None if the database is usable.

    For example, "database: its schema is at revision 0004, not at 0005" means that a migration is
    missing. A schema at a revision that this code does not know is newer, and usable. The check
    takes at most `CHECK_TIMEOUT_SECONDS`.

    Args:
        session: The session with which the revision is read.
        required_revisions: The Alembic revisions of the schema that the service needs, in order.
    """
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            rows = await session.execute(_SELECT_REVISION)
    except (ServiceError, TimeoutError):
        return "database: does not respond"
    except DBAPIError as error:
        sqlstate = find_sqlstate(error)
        if sqlstate != UNDEFINED_TABLE_SQLSTATE:
            return f"database: fails with SQLSTATE {sqlstate}"
        # Alembic's table does not exist, because the database has never been migrated.
        rows = []

    current_revision = rows[0]["version_num"] if rows else "none"
    *older_revisions, expected_revision = required_revisions
    if current_revision not in ("none", *older_revisions):
        return None
    return f"database: its schema is at revision {current_revision}, not at {expected_revision}"
