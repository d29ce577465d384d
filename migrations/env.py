"""Runs the revisions with Alembic, and sets the lock and the timeouts of an upgrade.

This file imports the application. Revisions never do, because they must not change with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from alembic import context
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy import Connection, event, pool, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.db import DATABASE_AND_OS_ERRORS, TRANSACTION_POOLER_OPTIONS, create_postgres_engine
from app.setting_errors import describe_validation_error
from app.settings import Settings
from app.tables import metadata
from migrations.new_revisions import prepare_revisions

# A migration that waits for the lock of a table blocks all later requests that use the table, so it
# fails after this time.
LOCK_TIMEOUT: Final = "5s"
# Replaces the role's statement_timeout, which is too short to build the index of a large table.
STATEMENT_TIMEOUT: Final = "15min"
# The key of the advisory lock that every upgrade takes. It is a random number.
UPGRADE_LOCK_KEY: Final = 7_305_011_972_015_236
TRY_UPGRADE_LOCK: Final = text(f"SELECT pg_try_advisory_xact_lock({UPGRADE_LOCK_KEY})")
LOCK_POLL_SECONDS: Final = 0.2
MISSING_URL_MESSAGE: Final = (
    "There is no database to migrate: set DATABASE_URL, or use `make migrate` for the development"
    ' database and `make revision MESSAGE="..."` for a new revision.'
)
CONTEXT_OPTIONS: Final[dict[str, Any]] = {
    "target_metadata": metadata,
    "compare_server_default": True,
    "process_revision_directives": prepare_revisions,
    # This plugin compares the names of check constraints.
    "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
}


def migrate() -> None:
    """Run the revisions on the database that the caller passes, by default on DATABASE_URL."""
    url = context.config.attributes.get("url")
    if url is not None:
        # The caller is Python code (app/schema.py), which handles exceptions itself.
        asyncio.run(upgrade_database(url))
        return
    url = read_database_url()
    asyncio.run(check_connection(url))
    asyncio.run(upgrade_database(url))


def read_database_url() -> URL:
    """Return DATABASE_URL.

    Raises `CommandError`, which Alembic prints without a traceback, if the settings are invalid or
    DATABASE_URL is not set.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise CommandError(f"Invalid settings: {describe_validation_error(error)}") from None
    if settings.database_url is None:
        raise CommandError(MISSING_URL_MESSAGE)
    return settings.sqlalchemy_url


async def check_connection(url: URL) -> None:
    """Raise `CommandError` if the database is not reachable or refuses the connection."""
    engine = create_postgres_engine(
        url, poolclass=pool.NullPool, connect_args=TRANSACTION_POOLER_OPTIONS
    )
    try:
        async with engine.connect():
            pass
    except DATABASE_AND_OS_ERRORS as error:
        raise CommandError(f"Cannot connect to {url}: {getattr(error, 'orig', error)}") from None
    finally:
        await engine.dispose()


async def upgrade_database(url: URL) -> None:
    """Run the revisions on a database, as soon as no other upgrade of it is running."""
    engine = create_postgres_engine(
        url, poolclass=pool.NullPool, connect_args=TRANSACTION_POOLER_OPTIONS
    )
    event.listen(engine.sync_engine, "begin", set_timeouts)
    async with upgrade_lock(engine), engine.connect() as connection:
        await connection.run_sync(run_migrations)
    await engine.dispose()


@asynccontextmanager
async def upgrade_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold a lock on upgrades until the block ends. A second upgrade waits for the lock.

    A transaction on a separate connection holds the lock and does nothing else. The transactions
    of the revisions cannot hold it, because each of them ends before the upgrade does. A
    session-level lock would not work behind a transaction-mode pooler.
    """
    async with engine.connect() as connection:
        while not await connection.scalar(TRY_UPGRADE_LOCK):
            # Do not wait for the lock in Postgres. CREATE INDEX CONCURRENTLY in the other upgrade
            # waits for every transaction that has a snapshot, so both upgrades would wait forever.
            await connection.rollback()
            await asyncio.sleep(LOCK_POLL_SECONDS)
        # Prevent Postgres from ending the idle transaction, which would release the lock. This
        # statement also releases the snapshot of the SELECT above, because CREATE INDEX
        # CONCURRENTLY would wait for it.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield


def run_migrations(connection: Connection) -> None:
    """Run each revision in its own transaction, so that its locks are released at its end."""
    context.configure(connection=connection, transaction_per_migration=True, **CONTEXT_OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def set_timeouts(connection: Connection) -> None:
    """Set the timeouts at the start of a transaction or of an autocommit block.

    Migrations should connect to Postgres directly. Behind a transaction-mode pooler the timeouts of
    transactions work, but those of an autocommit block do not, because the pooler may send SET and
    the next statement to different connections.
    """
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        # CREATE INDEX CONCURRENTLY has to wait for open transactions, but does not block requests.
        # ALTER TABLE in an autocommit block would block them, and therefore has to set a timeout.
        connection.exec_driver_sql("SET lock_timeout = 0")
    else:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def write_sql() -> None:
    """Write the SQL of the revisions to standard output, as `alembic upgrade --sql` requests."""
    context.configure(dialect_name="postgresql", literal_binds=True, **CONTEXT_OPTIONS)
    with context.begin_transaction():
        # SET LOCAL would not apply after an autocommit block, which commits the transaction.
        context.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


if context.is_offline_mode():
    write_sql()
else:
    migrate()
