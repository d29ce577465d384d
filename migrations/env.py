"""How Alembic reaches the database; revisions themselves never import the application."""

import asyncio

from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.db import POOLED
from app.settings import Settings
from app.tables import metadata

# A migration that cannot get its lock gives up, rather than queue all traffic behind itself. With
# it, it may take longer than the role's `statement_timeout`: an index of a large table does.
LOCK_TIMEOUT, STATEMENT_TIMEOUT = "5s", "15min"
# Any two upgrades at a time: the second waits for the first and finds nothing left to do.
ADVISORY_LOCK = 7_305_011_972_015_236


def url() -> URL:
    given = context.config.attributes.get("url")
    return given if given is not None else Settings().sqlalchemy_url


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # the role's may be short
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


async def run_online() -> None:
    engine = create_async_engine(url(), poolclass=pool.NullPool, connect_args=POOLED)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


def run_offline() -> None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        context.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    asyncio.run(run_online())
