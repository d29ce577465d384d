"""The engine, the sessions and the transaction boundary. Nothing else in the service commits."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from sqlalchemy import Executable, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from app.core import sqlstate
from app.settings import Settings

POOL_RECYCLE = 1800  # seconds; instead of a pre-ping, which is a round trip in every request


class Session(Protocol):
    """What a repository needs: run one statement, get its rows."""

    async def rows(
        self, statement: Executable, parameters: Mapping[str, Any]
    ) -> Sequence[Row[Any]]: ...


class AutocommitSession:
    """Every statement is its own transaction: one round trip, on a connection borrowed for it.

    A statement that the server surely undid (deadlock, serialization failure) is run once more,
    and so is a read whose connection turned out to be dead.
    """

    def __init__(self, engine: AsyncEngine, *, read: bool) -> None:
        self._engine = engine
        self._read = read

    async def rows(
        self, statement: Executable, parameters: Mapping[str, Any]
    ) -> Sequence[Row[Any]]:
        try:
            return await self._run(statement, parameters)
        except sqlstate.FAILURES as error:
            if not sqlstate.may_retry(error, read=self._read):
                raise _translated(error) from error
        async with _failures_translated():
            return await self._run(statement, parameters)

    async def _run(
        self, statement: Executable, parameters: Mapping[str, Any]
    ) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement, parameters)).all()


class TransactionSession(AsyncSession):
    """An `AsyncSession` between BEGIN and COMMIT, for work of more than one statement."""

    async def rows(
        self, statement: Executable, parameters: Mapping[str, Any]
    ) -> Sequence[Row[Any]]:
        async with _failures_translated():
            return (await self.execute(statement, parameters)).all()


class Database:
    """A pool of connections and the three kinds of session over it."""

    def __init__(self, settings: Settings) -> None:
        self.engine = create_async_engine(
            settings.sqlalchemy_url,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=settings.db_pool_size,
            max_overflow=0,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=POOL_RECYCLE,
            hide_parameters=True,
            connect_args={
                "timeout": settings.db_pool_timeout,
                "server_settings": {
                    "application_name": "bookshelf",
                    "statement_timeout": str(int(settings.db_statement_timeout * 1000)),
                },
            },
        )
        self.reads: Session = AutocommitSession(self.engine, read=True)
        self.writes: Session = AutocommitSession(self.engine, read=False)
        self._transactions = async_sessionmaker(
            self.engine.execution_options(isolation_level="READ COMMITTED"),
            class_=TransactionSession,
            expire_on_commit=False,
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[TransactionSession]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        try:
            async with self._transactions() as session:
                yield session
                async with _failures_translated():
                    await session.commit()
        except DBAPIError as error:  # of an ORM call; rows() and COMMIT translate their own
            raise _translated(error) from error

    async def dispose(self) -> None:
        await self.engine.dispose()


@asynccontextmanager
async def _failures_translated() -> AsyncIterator[None]:
    try:
        yield
    except sqlstate.FAILURES as error:
        raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    return sqlstate.translate(error) or error


async def _reads(request: Request) -> Session:
    session: Session = request.app.state.database.reads
    return session


async def _writes(request: Request) -> Session:
    session: Session = request.app.state.database.writes
    return session


async def _transaction(request: Request) -> AsyncIterator[TransactionSession]:
    async with request.app.state.database.session() as session:
        yield session


ReadSession = Annotated[Session, Depends(_reads)]
WriteSession = Annotated[Session, Depends(_writes)]
# With the default scope FastAPI would run the COMMIT after the answer has gone out.
Transaction = Annotated[TransactionSession, Depends(_transaction, scope="function")]
