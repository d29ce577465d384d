"""Removes and reports invalid indexes, which a failed `CREATE INDEX CONCURRENTLY` leaves behind.

Postgres maintains an invalid index with every write, but never reads it. `IF NOT EXISTS` takes it
for the index that is to be created.
"""

import logging
from typing import Final

from alembic import op
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A block of PL/pgSQL cannot drop an index concurrently. Dropping it otherwise locks its table for a
# moment, and only if the index is invalid.
DROP_INVALID_INDEX: Final = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('{name}') AND NOT indisvalid)
    THEN DROP INDEX {name};
    END IF;
END $$
"""
# An index that a session is building is not valid yet. REINDEX CONCURRENTLY builds a second index,
# whose name ends with _ccnew, and renames the first one to end with _ccold.
SELECT_INVALID_INDEXES: Final = text("""
SELECT indexrelid::regclass::text AS name, relname ~ '_cc(new|old)[0-9]*$' AS is_remnant
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace AND relkind = 'i'
AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index WHERE index_relid <> 0)
ORDER BY 1
""")
log = logging.getLogger("migrations")


def drop_invalid_index(name: str) -> None:
    """Drop an index if it exists and is invalid. Revisions call this before they create the index.

    A valid index is kept, so that a revision that is repeated does not build it again.
    """
    quoted_name = op.get_context().dialect.identifier_preparer.quote(name)
    op.execute(DROP_INVALID_INDEX.format(name=quoted_name))


async def report_invalid_indexes(connection: AsyncConnection) -> None:
    """Log a warning for each invalid index, with the statement that repairs it.

    After an upgrade, these are indexes of revisions that had already run, or of other programs. The
    indexes of revisions that have run in this upgrade are valid.
    """
    result = await connection.execute(SELECT_INVALID_INDEXES)
    for name, is_remnant in result:
        statement = f"REINDEX INDEX CONCURRENTLY {name}"
        if is_remnant:
            statement = f"DROP INDEX CONCURRENTLY {name}"
        log.warning("The index %s is invalid, so queries do not use it. Run: %s", name, statement)
