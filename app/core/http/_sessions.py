"""Session dependencies: the one way in which an endpoint gets access to a database.

    session: RequestSession    reads in GET; elsewhere statements that each commit by themselves
    session: Transaction       several statements that are committed together, before the response
    session: ReportingSession  reads from the reporting database

A POST with an Idempotency-Key also runs in a transaction, which stores its response. In a request
that has a transaction, `RequestSession` and `Transaction` both are that transaction.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant

from app.core.db import AutocommitSession, Session, TransactionSession, may_retry_transaction
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources

Handler = Callable[[Request], Awaitable[Response]]


async def _request_session(request: Request) -> Session:
    transaction = request_state(request.scope).transaction
    if transaction is not None:
        return transaction
    database = http_resources(request).database
    return database.reads if request.method == "GET" else database.writes


async def _transaction(request: Request) -> TransactionSession:
    transaction = request_state(request.scope).transaction
    if transaction is None:
        raise RuntimeError("only endpoints of core.http.Router can depend on a Transaction")
    return transaction


def read_session_dependency(bind: str) -> Callable[[Request], Awaitable[AutocommitSession]]:
    """Return the dependency for reading from a database other than the default one."""

    async def read(request: Request) -> AutocommitSession:
        return http_resources(request).database.named_databases[bind].reads

    return read


RequestSession = Annotated[Session, Depends(_request_session)]
Transaction = Annotated[TransactionSession, Depends(_transaction)]
ReportingSession = Annotated[AutocommitSession, Depends(read_session_dependency("reporting"))]


def needs_transaction(dependant: Dependant) -> bool:
    """Return whether an endpoint, or a dependency of it, depends on a `Transaction`."""
    if dependant.call is _transaction:
        return True
    return any(needs_transaction(dependency) for dependency in dependant.dependencies)


async def run_in_transaction(request: Request, handler: Handler) -> Response:
    """Run a handler in a transaction, and commit it before the response is returned.

    BEGIN is sent with the handler's first statement. No connection is held before, while a body
    arrives or a password is hashed. If the handler raises, the transaction is rolled back.
    """
    state = request_state(request.scope)
    async with http_resources(request).database.transaction() as session:
        state.transaction = session
        try:
            return await handler(request)
        finally:
            state.transaction = None


async def run_in_transaction_with_retry(request: Request, handler: Handler) -> Response:
    """Repeat a transaction once if the database rolled it back, for example after a deadlock."""
    try:
        return await run_in_transaction(request, handler)
    except Exception as error:
        if not may_retry_transaction(error):
            raise
    return await run_in_transaction(request, handler)
