"""Checks that the database responds and has the schema that this version of the service needs."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.db._sessions import AutocommitSession
from app.core.db._sqlstate import find_connecting_problem, find_sqlstate
from app.core.errors import ServiceError

CHECK_TIMEOUT_SECONDS: Final = 1.0
DOES_NOT_RESPOND: Final = "does not respond"
# The time between two checks while `wait_for_schema` waits.
POLL_SECONDS: Final = 1.0
UNDEFINED_TABLE_SQLSTATE: Final = "42P01"
OUTDATED_SCHEMA_PROBLEM: Final = "database: its schema is at revision"
CONTRACTED_SCHEMA_PROBLEM: Final = "database: its schema requires revision"
READ_ONLY_PROBLEM: Final = "database: is read-only"
# Alembic keeps the revision of the schema in a table with one row, for example ("0005",). A
# transaction is read-only on a standby, and if default_transaction_read_only is on. After contract
# revisions, `migrations/contracts.py` stores the revision that code has to know in a comment.
_SELECT_STATE: Final = text(
    r"""
    SELECT version_num, current_setting('transaction_read_only') = 'on' AS is_read_only,
        substring(obj_description('alembic_version'::regclass, 'pg_class') FROM 'revision (\w+)')
            AS revision_required_of_code
    FROM alembic_version
    """
)

log = logging.getLogger(__name__)


async def wait_for_schema(
    session: AutocommitSession, required_revisions: Sequence[str], stop_event: asyncio.Event
) -> None:
    """Return when the schema is usable, or when an event is set.

    Each problem of the schema is logged once. If the database does not respond, this returns too,
    because its callers handle such errors anyway.
    """
    last_problem = None
    while not stop_event.is_set():
        problem = await find_database_problem(session, required_revisions)
        if problem is None or not problem.startswith(
            (OUTDATED_SCHEMA_PROBLEM, CONTRACTED_SCHEMA_PROBLEM)
        ):
            return
        if problem != last_problem:
            log.warning("waiting for a usable schema: %s", problem)
            last_problem = problem
        with suppress(TimeoutError):
            await asyncio.wait_for(stop_event.wait(), POLL_SECONDS)


async def find_database_problem(
    session: AutocommitSession,
    required_revisions: Sequence[str],
    *,
    must_accept_writes: bool = False,
) -> str | None:
    """Return a sentence about the problem with the database, or None if the database is usable.

    For example, "database: its schema is at revision 0004, not at 0005" means that a migration is
    missing. A schema at a revision that this code does not know is newer, and usable until a
    contract revision removes what this code uses. The check takes at most `CHECK_TIMEOUT_SECONDS`.

    Args:
        session: The session with which the revision is read.
        required_revisions: The Alembic revisions of the schema that the service needs, in order.
        must_accept_writes: Whether it is a problem that the server is read-only. The session must
            not be one of a database that the service itself makes read-only.
    """
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            rows = await session.execute(_SELECT_STATE)
    except ServiceError as error:
        return f"database: {find_connecting_problem(error) or DOES_NOT_RESPOND}"
    except TimeoutError:
        return f"database: {DOES_NOT_RESPOND}"
    except DBAPIError as error:
        sqlstate = find_sqlstate(error)
        if sqlstate != UNDEFINED_TABLE_SQLSTATE:
            return f"database: fails with SQLSTATE {sqlstate}"
        # Alembic's table does not exist, because the database has never been migrated.
        rows = []

    if must_accept_writes and rows and rows[0]["is_read_only"]:
        return READ_ONLY_PROBLEM
    if not rows:
        return _find_schema_problem("none", None, required_revisions)
    return _find_schema_problem(
        rows[0]["version_num"], rows[0]["revision_required_of_code"], required_revisions
    )


def _find_schema_problem(
    current_revision: str, revision_required_of_code: str | None, required_revisions: Sequence[str]
) -> str | None:
    """Return a sentence about a schema that is too old or too new, or None if it is usable."""
    *older_revisions, expected_revision = required_revisions
    if current_revision in ("none", *older_revisions):
        return f"{OUTDATED_SCHEMA_PROBLEM} {current_revision}, not at {expected_revision}"
    if revision_required_of_code not in (None, *required_revisions):
        return (
            f"{CONTRACTED_SCHEMA_PROBLEM} {revision_required_of_code}, which this release does not"
            " know"
        )
    return None
