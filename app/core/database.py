"""The engine, the sessions and the transaction boundary. Nothing else in the service commits."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.util import greenlet_spawn

from app.core.sqlstate import FAILURES, may_retry, translated
from app.settings import Settings

Parameters = Mapping[str, Any]
Rows = Sequence[sa.Row[Any]]
POOL_RECYCLE = 1800  # seconds; instead of a pre-ping, which is a round trip in every request


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
        with self._engine.connect() as connection:
            return connection.execute(statement, parameters).all()


class TransactionSession(AsyncSession):
    """An `AsyncSession` between BEGIN and COMMIT, for work of more than one statement."""

    async def rows(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        with translated():
            return (await self.execute(statement, parameters)).all()


Session = AutocommitSession | TransactionSession


class Database:
    """A pool of connections and the three kinds of session over it."""

    def __init__(self, settings: Settings) -> None:
        timeout = str(int(settings.db_statement_timeout * 1000))
        server_settings = {"application_name": "bookshelf", "statement_timeout": timeout}
        self.engine = create_async_engine(
            settings.sqlalchemy_url,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=settings.db_pool_size,
            max_overflow=0,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=POOL_RECYCLE,
            hide_parameters=True,
            connect_args={"timeout": settings.db_pool_timeout, "server_settings": server_settings},
        )
        self.reads = AutocommitSession(self.engine.sync_engine, read=True)
        self.writes = AutocommitSession(self.engine.sync_engine, read=False)
        self.transactions = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            class_=TransactionSession,
            expire_on_commit=False,
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[TransactionSession]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        async with self.transactions() as session:
            with translated():
                yield session
                await session.commit()


async def _reads(request: Request) -> AutocommitSession:
    session: AutocommitSession = request.app.state.database.reads
    return session


async def _writes(request: Request) -> AutocommitSession:
    session: AutocommitSession = request.app.state.database.writes
    return session


async def _transaction(request: Request) -> AsyncIterator[TransactionSession]:
    async with request.app.state.database.session() as session:
        yield session


ReadSession = Annotated[AutocommitSession, Depends(_reads)]
WriteSession = Annotated[AutocommitSession, Depends(_writes)]
# With the default scope FastAPI would run the COMMIT after the answer has gone out.
Transaction = Annotated[TransactionSession, Depends(_transaction, scope="function")]
