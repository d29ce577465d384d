"""The databases by name, and the transaction boundary: nothing else in the service commits."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from app.core.db._pool import ConnectionPool, register_pool_events
from app.core.db._sessions import AutocommitSession, TransactionSession
from app.core.db._sqlstate import DATABASE_ERRORS, translated
from app.core.errors import Overloaded
from app.core.observability import observe_pool, observe_statements
from app.settings import Settings

POOL_RECYCLE = 1800  # seconds; instead of a pre-ping, which is a round trip in every request
CLOSE_TIMEOUT: Final = 2.0  # seconds until a server that does not answer is left without a good-bye
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bind:
    """A database: the setting with its URL; where that is unset it is the default database."""

    setting: str
    read_only: bool = False
    probed: bool = False  # by the probe of readiness alone, on one connection

    def connections(self, size: int) -> int:
        """Of a process whose pool has `size`."""
        return 1 if self.probed else _few(size) if self.read_only else size


# Every database by name. One more is a setting and a line here; `reading` makes its dependency.
BINDS: Final = {
    "default": Bind("database_url"),
    "reporting": Bind("reporting_database_url", read_only=True),
    "readiness": Bind("database_url", read_only=True, probed=True),
}
# Behind a pooler of transactions the next one may run on another connection: nothing is prepared
# for later. What has a name would stay there, for its Close goes wherever the next one runs.
POOLED: Final[dict[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


class Sessions:
    """The three kinds of session over one database's pool of connections."""

    def __init__(self, settings: Settings, bind: Bind) -> None:
        self.engine = create_async_engine(
            settings.url_of(bind.setting),
            **_options(settings, bind),
            poolclass=ConnectionPool,
            skip_autocommit_rollback=True,
            max_overflow=0,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=POOL_RECYCLE,
            hide_parameters=True,
        )
        register_pool_events(self.engine.sync_engine)
        self.reads, self.writes = (
            AutocommitSession(self.engine.sync_engine, read=read, pooled=settings.db_pgbouncer)
            for read in (True, False)
        )
        self.transactions = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            class_=TransactionSession,
            expire_on_commit=False,
        )


def _options(settings: Settings, bind: Bind) -> dict[str, Any]:
    """What an engine's connections are told, and how its single statements are transactions."""
    connect: dict[str, Any] = {"timeout": settings.db_pool_timeout}
    options = {"connect_args": connect, "pool_size": bind.connections(settings.db_pool_size)}
    if settings.db_pgbouncer:  # it takes no settings, and a statement alone is more messages
        connect |= POOLED
        read_only = {"postgresql_readonly": bind.read_only}
        return {**options, "isolation_level": "READ COMMITTED", "execution_options": read_only}
    timeout = int(settings.db_statement_timeout * 1000)
    # Who waits for a lock is told so before who works for too long.
    timeouts = {"statement_timeout": f"{timeout}", "lock_timeout": f"{max(1, timeout // 2)}"}
    connect["server_settings"] = {"application_name": "bookshelf", **timeouts}
    connect["max_cached_statement_lifetime"] = 0  # it would be prepared anew every five minutes
    if bind.read_only:
        connect["server_settings"]["default_transaction_read_only"] = "on"
    return {**options, "isolation_level": "AUTOCOMMIT"}


def _few(size: int) -> int:
    """A quarter of a pool: what may not starve ordinary requests."""
    return max(1, size // 4)


class Database(Sessions):
    """The sessions of the default database, and those of every other by its name."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, BINDS["default"])
        self._size, self._streams = settings.db_pool_size, 0
        self.binds: dict[str, Sessions] = {
            name: self if name == "default" else Sessions(settings, bind)
            for name, bind in BINDS.items()
        }
        for name, sessions in self.binds.items():
            observe_statements(sessions.engine.sync_engine)
            observe_pool(name, sessions.engine.sync_engine)

    @asynccontextmanager
    async def session(self, bind: str = "default") -> AsyncIterator[TransactionSession]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        async with self.binds[bind].transactions() as session:
            try:
                with translated(DATABASE_ERRORS):  # a file that the block writes may fail as well
                    yield session
                with translated():
                    await session.commit()
            except (asyncio.CancelledError, GeneratorExit):
                await session.invalidate()  # a server that is stuck would never answer ROLLBACK
                raise

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[TransactionSession]:
        """A transaction for as long as a client reads; a quarter of the pool, then `Overloaded`."""
        if self._streams >= _few(self._size):
            raise Overloaded
        self._streams += 1
        try:
            async with self.session() as session:
                yield session
        finally:
            self._streams -= 1

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for sessions in self.binds.values():
                    await sessions.engine.dispose()
        except TimeoutError:
            log.warning("the database did not answer a good-bye")
