"""The engines, the sessions and the transaction boundary. Nothing else in the service commits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

import asyncpg
import sqlalchemy as sa
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util import greenlet_spawn

from app.core.errors import Overloaded
from app.core.sqlstate import DATABASE_ERRORS, FAILURES, may_retry, translated
from app.settings import Settings

Parameters = Mapping[str, Any]
Rows = Sequence[sa.Row[Any]]
LOOK: Final = 1000  # records copied between two looks at whether the connection is lost
POOL_RECYCLE = 1800  # seconds; instead of a pre-ping, which is a round trip in every request


@dataclass(frozen=True)
class Bind:
    """A database: the setting with its URL; where that is unset it is the default database."""

    setting: str
    read_only: bool = False


# Every database by name. One more is a setting and a line here; `reading` makes its dependency.
BINDS: Final = {
    "default": Bind("database_url"),
    "reporting": Bind("reporting_database_url", read_only=True),
}
# Behind a pooler of transactions the next one may run on another connection: nothing is prepared
# for later. What has a name would stay there, for its Close goes wherever the next one runs.
POOLED: Final[dict[str, Any]] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


class AutocommitSession:
    """Every statement is its own transaction: one round trip, on a connection borrowed for it.

    A statement that the server surely undid (deadlock, serialization failure) is run once more,
    and so is a read whose connection turned out to be dead.
    """

    def __init__(self, engine: sa.Engine, *, read: bool) -> None:
        self._engine, self._read = engine, read

    async def rows(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        with translated():
            try:
                return await self._run(statement, parameters)
            except FAILURES as error:
                if not may_retry(error, read=self._read):
                    raise
            return await self._run(statement, parameters)

    async def _run(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        # In one greenlet: `async with engine.connect()` makes three, and a task, for one statement.
        return await greenlet_spawn(self._execute, statement, parameters)

    def _execute(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        with self._engine.begin() as connection:
            return connection.execute(statement, parameters).all()


class TransactionSession(AsyncSession):
    """An `AsyncSession` between BEGIN and COMMIT, for work of more than one statement."""

    async def rows(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        with translated():
            return (await self.execute(statement, parameters)).all()

    async def run(self, statement: sa.Executable) -> None:
        """A statement that has no rows to return."""
        with translated():
            await self.execute(statement)

    async def copy(self, table: sa.Table, records: Iterable[tuple[Any, ...]]) -> None:
        """COPY records into a table as they come: none is held."""
        connection = await self.connection()
        raw = await connection.get_raw_connection()
        driver: asyncpg.Connection[Any] = raw.driver_connection  # type: ignore[assignment]

        async def while_connected() -> AsyncIterator[tuple[Any, ...]]:
            try:
                for number, record in enumerate(records):
                    if number % LOOK == 0:
                        await asyncio.sleep(0)
                        if driver.is_closed():
                            return  # the driver raises it
                    yield record
            except SystemExit as error:  # the driver ends COPY when cancelled, not for this
                raise asyncio.CancelledError from error

        columns = [column.name for column in table.columns]
        with translated(DATABASE_ERRORS):
            try:
                await driver.copy_records_to_table(
                    table.name, columns=columns, records=while_connected()
                )
            except asyncio.CancelledError as error:
                raise error.__cause__ or error from None
            finally:
                if driver.is_closed():  # nothing can be rolled back on it
                    await connection.invalidate()

    async def fetched(
        self, declare: sa.Executable, parameters: Parameters, fetch: sa.Executable
    ) -> AsyncIterator[Rows]:
        """The rows of a cursor, some at a time: what declares it and what fetches from it."""
        with translated():
            await self.execute(declare, parameters)
            while rows := (await self.execute(fetch)).all():
                yield rows


Session = AutocommitSession | TransactionSession


class Sessions:
    """The three kinds of session over one database's pool of connections."""

    def __init__(self, settings: Settings, bind: Bind) -> None:
        self.engine = create_async_engine(
            settings.url_of(bind.setting),
            **_options(settings, bind),
            skip_autocommit_rollback=True,
            max_overflow=0,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=POOL_RECYCLE,
            hide_parameters=True,
        )
        self.reads = AutocommitSession(self.engine.sync_engine, read=True)
        self.writes = AutocommitSession(self.engine.sync_engine, read=False)
        self.transactions = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            class_=TransactionSession,
            expire_on_commit=False,
        )


def _options(settings: Settings, bind: Bind) -> dict[str, Any]:
    """What an engine's connections are told, and how its single statements are transactions."""
    connect: dict[str, Any] = {"timeout": settings.db_pool_timeout}
    size = settings.db_pool_size
    options = {"connect_args": connect, "pool_size": max(1, size // 4) if bind.read_only else size}
    if settings.db_pgbouncer:  # it takes no settings, and a statement alone is more messages
        connect |= POOLED
        read_only = {"postgresql_readonly": bind.read_only}
        return {**options, "isolation_level": "READ COMMITTED", "execution_options": read_only}
    timeout = str(int(settings.db_statement_timeout * 1000))
    connect["server_settings"] = {"application_name": "bookshelf", "statement_timeout": timeout}
    if bind.read_only:
        connect["server_settings"]["default_transaction_read_only"] = "on"
    return {**options, "isolation_level": "AUTOCOMMIT"}


class Database(Sessions):
    """The sessions of the default database, and those of every other by its name."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, BINDS["default"])
        self._size, self._streams = settings.db_pool_size, 0
        self.binds: dict[str, Sessions] = {
            name: self if name == "default" else Sessions(settings, bind)
            for name, bind in BINDS.items()
        }

    @asynccontextmanager
    async def session(self, bind: str = "default") -> AsyncIterator[TransactionSession]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        async with self.binds[bind].transactions() as session:
            with translated(DATABASE_ERRORS):  # a file that the block writes may fail as well
                yield session
            with translated():
                await session.commit()

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[TransactionSession]:
        """A transaction for as long as a client reads; a quarter of the pool, then `Overloaded`."""
        if self._streams >= max(1, self._size // 4):
            raise Overloaded
        self._streams += 1
        try:
            async with self.session() as session:
                yield session
        finally:
            self._streams -= 1

    async def close(self) -> None:
        for sessions in self.binds.values():
            await sessions.engine.dispose()


def reading(bind: str) -> Callable[[Request], Awaitable[AutocommitSession]]:
    """The dependency of what reads a database; it is to have one name everywhere."""

    async def reads(request: Request) -> AutocommitSession:
        session: AutocommitSession = request.app.state.database.binds[bind].reads
        return session

    return reads


async def _writes(request: Request) -> AutocommitSession:
    session: AutocommitSession = request.app.state.database.writes
    return session


async def _transaction(request: Request) -> AsyncIterator[TransactionSession]:
    async with request.app.state.database.session() as session:
        yield session


ReadSession = Annotated[AutocommitSession, Depends(reading("default"))]
WriteSession = Annotated[AutocommitSession, Depends(_writes)]
ReportingSession = Annotated[AutocommitSession, Depends(reading("reporting"))]
# With the default scope FastAPI would run the COMMIT after the answer has gone out.
Transaction = Annotated[TransactionSession, Depends(_transaction, scope="function")]
