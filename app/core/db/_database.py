"""All databases of the service, and the transaction boundary: no other module commits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from app.core.db._after_commit import BackgroundCallbacks
from app.core.db._named_database import DATABASE_CONFIGS, NamedDatabase
from app.core.db._sessions import TransactionSession
from app.core.db._sqlstate import DATABASE_ERRORS, translate_database_errors
from app.core.errors import Overloaded
from app.core.observability import export_pool_metrics, time_statements
from app.settings import Settings

CLOSE_TIMEOUT_SECONDS: Final = 2.0
CALLBACKS_TIMEOUT_SECONDS: Final = 1.0
log = logging.getLogger(__name__)


class Database:
    """The databases of the service, and the transactions on them.

    `reads` and `writes` are the sessions of the default database that commit every statement by
    itself. `named_databases` has the same for every database by its bind key:

        await database.reads.execute(statement)
        await database.named_databases["reporting"].reads.execute(statement)
        async with database.transaction() as session: ...
        async with database.transaction(bind_key="reporting") as session: ...
    """

    def __init__(self, settings: Settings) -> None:
        self._callbacks = BackgroundCallbacks()
        self.named_databases: dict[str, NamedDatabase] = {}
        for bind_key, config in DATABASE_CONFIGS.items():
            database = NamedDatabase(settings, config, self._callbacks)
            time_statements(database.engine.sync_engine)
            export_pool_metrics(bind_key, database.engine.sync_engine)
            self.named_databases[bind_key] = database
        default = self.named_databases["default"]
        self.engine = default.engine
        self.reads = default.reads
        self.writes = default.writes
        # Slow clients may keep a quarter of the pool busy. The rest is for other requests.
        self._max_streaming_transactions = max(1, settings.db_pool_size // 4)
        self._streaming_transactions = 0

    @asynccontextmanager
    async def transaction(self, bind_key: str = "default") -> AsyncIterator[TransactionSession]:
        """Run the block in a transaction of a named database.

        Commits when the block ends, and then starts the callbacks that the block has passed to
        `after_commit`. Rolls back if the block raises. Raises `FailedTransaction` instead of
        committing if a statement failed outside of a savepoint and the block caught its error.
        """
        async with self.named_databases[bind_key].create_orm_session() as orm_session:
            session = TransactionSession(orm_session)
            try:
                # An OSError in the block is not translated, because it may come from a file.
                with translate_database_errors(DATABASE_ERRORS):
                    yield session
                with translate_database_errors():
                    await orm_session.commit()
            except (asyncio.CancelledError, GeneratorExit):
                # Close the connection without a ROLLBACK, to which a server that hangs would never
                # respond.
                await orm_session.invalidate()
                raise
            for callback in session.callbacks:
                self._callbacks.start(callback)

    @asynccontextmanager
    async def streaming_transaction(self) -> AsyncIterator[TransactionSession]:
        """Run the block in a transaction that stays open while a client downloads the response.

        Raises `Overloaded` while such transactions use a quarter of the connection pool.
        """
        if self._streaming_transactions >= self._max_streaming_transactions:
            raise Overloaded
        self._streaming_transactions += 1
        try:
            async with self.transaction() as session:
                yield session
        finally:
            self._streaming_transactions -= 1

    async def wait_for_callbacks(self) -> None:
        """Wait until all `after_commit` callbacks have ended. Commands call it before they exit."""
        await self._callbacks.wait()

    async def close(self) -> None:
        """Wait for `after_commit` callbacks and close all connections.

        Callbacks that take longer than `CALLBACKS_TIMEOUT_SECONDS` are cancelled. Connections that
        take longer than `CLOSE_TIMEOUT_SECONDS` are left to the end of the process.
        """
        await self._callbacks.close(CALLBACKS_TIMEOUT_SECONDS)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                for database in self.named_databases.values():
                    await database.engine.dispose()
        except TimeoutError:
            log.warning("database connections were not closed within %g s", CLOSE_TIMEOUT_SECONDS)
