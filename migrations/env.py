"""Connects Alembic to the database, and sets locks and timeouts for the revisions.

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
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.db import DATABASE_AND_OS_ERRORS, TRANSACTION_POOLER_OPTIONS
from app.settings import Settings, describe_validation_error
from app.tables import metadata
from migrations.new_revisions import prepare_revisions

# A migration that waits for a table lock longer than this gives up, because all requests for the
# table queue behind it.
LOCK_TIMEOUT: Final = "5s"
# Building an index of a large table takes longer than the role's statement_timeout allows.
STATEMENT_TIMEOUT: Final = "15min"
ADVISORY_LOCK: Final = 7_305_011_972_015_236
TRY_LOCK: Final = text(f"SELECT pg_try_advisory_xact_lock({ADVISORY_LOCK})")
LOCK_POLL_SECONDS: Final = 0.2
NO_URL: Final = (
    "There is no database to migrate: set DATABASE_URL, or use `make migrate` for the development"
    ' database and `make revision MESSAGE="..."` for a new revision.'
)
OPTIONS: Final[dict[str, Any]] = {
    "target_metadata": metadata,
    "compare_server_default": True,
    "process_revision_directives": prepare_revisions,
    # The plugin compares check constraints, by their names.
    "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
}


def migrate_online() -> None:
    url = context.config.attributes.get("url")
    if url is not None:
        # The caller is Python code (app/schema.py), which handles exceptions itself.
        asyncio.run(run_online(url))
        return
    url = url_of_settings()
    asyncio.run(try_connection(url))
    asyncio.run(run_online(url))


def url_of_settings() -> URL:
    """Return DATABASE_URL. Alembic prints a CommandError as one line, without a traceback."""
    try:
        settings = Settings()
    except ValidationError as error:
        raise CommandError(f"Wrong settings: {describe_validation_error(error)}") from None
    if settings.database_url is None:
        raise CommandError(NO_URL)
    return settings.sqlalchemy_url


async def try_connection(url: URL) -> None:
    engine = create_async_engine(
        url, poolclass=pool.NullPool, connect_args=TRANSACTION_POOLER_OPTIONS
    )
    try:
        async with engine.connect():
            pass
    except DATABASE_AND_OS_ERRORS as error:
        raise CommandError(f"Cannot connect to {url}: {getattr(error, 'orig', error)}") from None
    finally:
        await engine.dispose()


async def run_online(url: URL) -> None:
    engine = create_async_engine(
        url, poolclass=pool.NullPool, connect_args=TRANSACTION_POOLER_OPTIONS
    )
    event.listen(engine.sync_engine, "begin", set_timeouts)
    async with upgrade_lock(engine), engine.connect() as connection:
        await connection.run_sync(run_migrations)
    await engine.dispose()


@asynccontextmanager
async def upgrade_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    """Let only one upgrade run at a time. A second one waits, and then has nothing to do.

    Revisions commit, some more than once, so their own transactions cannot hold the lock. A
    transaction on a second connection holds it until the block ends, and does nothing else. Unlike
    a session-level lock, this also works behind a transaction-mode pooler.
    """
    async with engine.connect() as connection:
        while not await connection.scalar(TRY_LOCK):
            # CREATE INDEX CONCURRENTLY waits for every transaction that has a snapshot. A statement
            # that waited for the lock would have one, so that both upgrades would wait forever.
            await connection.rollback()
            await asyncio.sleep(LOCK_POLL_SECONDS)
        # Without this, Postgres would end the idle transaction, and release the lock. The statement
        # also releases the snapshot of the SELECT above, which CREATE INDEX would wait for.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield


def run_migrations(connection: Connection) -> None:
    """Run each revision in its own transaction, so that its locks are released at its end."""
    context.configure(connection=connection, transaction_per_migration=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def set_timeouts(connection: Connection) -> None:
    """Set the timeouts at the start of a transaction or of an autocommit block.

    Migrations should connect to Postgres directly. Behind a transaction-mode pooler, SET LOCAL
    works, but the SET of an autocommit block does not, because the pooler may run it on another
    connection than the statement that follows.
    """
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        # CREATE INDEX CONCURRENTLY has to wait for open transactions, and no request queues behind
        # it. An ALTER TABLE does not belong in an autocommit block.
        connection.exec_driver_sql("SET lock_timeout = 0")
    else:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")


def write_sql() -> None:
    """Write the SQL of the revisions, for `alembic upgrade --sql`."""
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        # SET LOCAL would end with the first transaction, which an autocommit block commits.
        context.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        context.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


if context.is_offline_mode():
    write_sql()
else:
    migrate_online()
