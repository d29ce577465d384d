"""Session dependencies: how an endpoint gets access to a database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request

from app.core.db import AutocommitSession, Session, TransactionSession

# In the scope of a request whose writes are part of a transaction.
SESSION: Final = "bookshelf.session"


def reading(bind: str) -> Callable[[Request], Awaitable[AutocommitSession]]:
    """The dependency of what reads a database; it is to have one name everywhere."""

    async def reads(request: Request) -> AutocommitSession:
        session: AutocommitSession = request.app.state.database.binds[bind].reads
        return session

    return reads


async def _writes(request: Request) -> Session:
    session: Session = request.scope.get(SESSION) or request.app.state.database.writes
    return session


async def _transaction(request: Request) -> AsyncIterator[TransactionSession]:
    async with request.app.state.database.transaction() as session:
        yield session


ReadSession = Annotated[AutocommitSession, Depends(reading("default"))]
WriteSession = Annotated[Session, Depends(_writes)]
ReportingSession = Annotated[AutocommitSession, Depends(reading("reporting"))]
# With the default scope FastAPI would run the COMMIT after the answer has gone out.
Transaction = Annotated[TransactionSession, Depends(_transaction, scope="function")]
