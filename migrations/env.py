"""Runs the revisions with Alembic, one upgrade at a time, and without blocking requests for long.

This file imports the application. Revisions never do, because they must not change with it.
"""

import asyncio
import io
import sys
from functools import partial
from typing import Any, Final

from alembic import context
from alembic.util import CommandError
from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import PendingRollbackError

from app.core.db import DATABASE_AND_OS_ERRORS
from app.settings import Settings, describe_validation_error
from app.tables import metadata
from migrations.change_feed import switch_change_feed
from migrations.contracts import record_required_code
from migrations.invalid_indexes import report_invalid_indexes
from migrations.lock_waits import LockMonitor
from migrations.new_revisions import prepare_revisions
from migrations.retries import PendingSteps, run_with_retries
from migrations.sessions import (
    SELECT_PID,
    TIMEOUTS,
    create_engine,
    open_sessions,
    timeouts_of,
    upgrade_lock,
)

MISSING_URL_MESSAGE: Final = (
    "There is no database to migrate: set DATABASE_URL, or use `make migrate` for the development"
    ' database and `make revision MESSAGE="..."` for a new revision.'
)
CONTEXT_OPTIONS: Final[dict[str, Any]] = {
    "target_metadata": metadata,
    "compare_server_default": True,
    "process_revision_directives": prepare_revisions,
    "on_version_apply": record_required_code,
    # This plugin compares the names of check constraints.
    "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
}


def migrate() -> None:
    """Run the revisions on the database that the caller passes, by default on DATABASE_URL."""
    attributes = context.config.attributes
    url = attributes.get("url")
    if url is not None:
        # The caller is Python code (app/schema.py), which handles exceptions itself.
        asyncio.run(upgrade_database(url, attributes["lock_timeout_seconds"]))
        return
    settings = read_settings()
    asyncio.run(check_connection(settings.sqlalchemy_url))
    asyncio.run(upgrade_database(settings.sqlalchemy_url, settings.migration_lock_timeout))


def read_settings() -> Settings:
    """Return the settings, which have a DATABASE_URL.

    Raises `CommandError`, which Alembic prints without a traceback, if the settings are invalid or
    DATABASE_URL is not set.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise CommandError(f"Invalid settings: {describe_validation_error(error)}") from None
    if settings.database_url is None:
        raise CommandError(MISSING_URL_MESSAGE)
    return settings


async def check_connection(url: URL) -> None:
    """Raise `CommandError` if the database is not reachable or refuses the connection."""
    engine = create_engine(url)
    try:
        async with engine.connect():
            pass
    except DATABASE_AND_OS_ERRORS as error:
        raise CommandError(f"Cannot connect to {url}: {getattr(error, 'orig', error)}") from None
    finally:
        await engine.dispose()


async def upgrade_database(url: URL, lock_timeout_seconds: float) -> None:
    """Run the revisions on a database, as soon as no other upgrade of it is running.

    A revision is repeated for `lock_timeout_seconds` if it cannot lock a table in time.
    """
    async with open_sessions(url) as (connection, observer), upgrade_lock(connection, observer):
        monitor = LockMonitor(observer, await connection.scalar(SELECT_PID))
        await connection.rollback()
        async with monitor.observe():
            steps = await connection.run_sync(find_steps)
            run = partial(run_revisions, steps=steps)
            await run_with_retries(connection, run, steps, monitor, lock_timeout_seconds)
        await report_invalid_indexes(connection)


def find_steps(connection: Connection) -> PendingSteps:
    """Return the steps of the command that Alembic runs, for example `upgrade`."""
    configure_context(connection)
    return PendingSteps(context.get_context().opts["fn"])


def run_revisions(connection: Connection, steps: PendingSteps) -> None:
    """Run each revision in its own transaction, so that its locks are released at its end."""
    configure_context(connection, fn=steps)
    try:
        with context.begin_transaction():
            context.run_migrations()
    except PendingRollbackError as error:
        # Alembic commits an autocommit block even if the connection was lost or the process is
        # being stopped, which causes this error. The cause is more useful.
        if error.__context__ is None:
            raise
        raise error.__context__ from None
    # Other commands of Alembic, such as `check`, do not change the feed.
    change_feed = context.config.attributes.get("change_feed")
    if change_feed is not None:
        switch_change_feed(connection, enabled=change_feed)
        connection.commit()
    heads = context.get_context().get_current_heads()
    context.config.attributes["revision"] = ", ".join(heads) or "base"


def configure_context(connection: Connection, **options: Any) -> None:
    """Configure Alembic to use a connection, with further options."""
    context.configure(
        connection=connection, transaction_per_migration=True, **CONTEXT_OPTIONS, **options
    )


class SqlBuffer(io.StringIO):
    """Collects the statements of revisions, each with the timeouts that it needs."""

    def write(self, statement: str) -> int:
        """Add a statement, and the settings for it if it may wait without a limit."""
        timeouts = timeouts_of(statement)
        if timeouts != TIMEOUTS:
            statement = f"{self._set(timeouts)}{statement}{self._set(TIMEOUTS)}"
        return super().write(statement)

    @staticmethod
    def _set(timeouts: dict[str, str]) -> str:
        """Return the statements that set timeouts."""
        return "".join(f"SET {name} = '{value}';\n\n" for name, value in timeouts.items())


def write_sql() -> None:
    """Write the SQL of the revisions to standard output, as `alembic upgrade --sql` requests.

    A script does not repeat a statement that waits too long for a lock.
    """
    buffer = SqlBuffer()
    context.configure(
        dialect_name="postgresql", literal_binds=True, output_buffer=buffer, **CONTEXT_OPTIONS
    )
    with context.begin_transaction():
        # SET LOCAL would not apply after an autocommit block, which commits the transaction.
        for name, value in TIMEOUTS.items():
            context.execute(f"SET {name} = '{value}'")
        context.run_migrations()
    output = context.config.output_buffer or sys.stdout
    output.write(buffer.getvalue())


if context.is_offline_mode():
    write_sql()
else:
    migrate()
