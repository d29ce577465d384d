"""Dependencies through which an endpoint gets all of its access to databases.

    session: RequestSession    reads in a GET; elsewhere each statement is committed by itself
    session: Transaction       several statements that are committed together, before the response
    session: ReportingSession  reads from the reporting database

A POST with an Idempotency-Key also runs in a transaction, which stores its response. If a request
has a transaction, `RequestSession` and `Transaction` are both that transaction.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant

from app.core.db import AutocommitSession, Session, TransactionSession, may_retry_transaction
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources

# The rest of the handling of a request, for example the call of its endpoint.
Handler = Callable[[Request], Awaitable[Response]]


async def _request_session(request: Request) -> Session:
    """Return the transaction of the request if it has one, and otherwise an autocommit session.

    The session of a GET is the one for reads.
    """
    transaction = request_state(request.scope).transaction
    if transaction is not None:
        return transaction
    database = http_resources(request).database
    if request.method == "GET":
        return database.reads
    return database.writes


async def _current_transaction(request: Request) -> TransactionSession:
    """Return the transaction that the route has opened for an endpoint that depends on it."""
    transaction = request_state(request.scope).transaction
    if transaction is None:
        raise RuntimeError("Only endpoints of core.http.Router can depend on a Transaction.")
    return transaction


def read_session_dependency(
    database_name: str,
) -> Callable[[Request], Awaitable[AutocommitSession]]:
    """Return a dependency that reads from the named database, for example "reporting".

    The session executes each statement in a transaction of its own.
    """

    async def read_session(request: Request) -> AutocommitSession:
        return http_resources(request).database.named_databases[database_name].reads

    return read_session


RequestSession = Annotated[Session, Depends(_request_session)]
Transaction = Annotated[TransactionSession, Depends(_current_transaction)]
ReportingSession = Annotated[AutocommitSession, Depends(read_session_dependency("reporting"))]


def needs_transaction(dependant: Dependant) -> bool:
    """Return whether an endpoint, or one of its dependencies, depends on a `Transaction`."""
    if dependant.call is _current_transaction:
        return True
    return any(needs_transaction(dependency) for dependency in dependant.dependencies)


async def run_in_transaction(request: Request, handler: Handler) -> Response:
    """Run a handler in a transaction, and commit it before the response is returned.

    If the handler raises an exception, the transaction is rolled back. The first statement of the
    handler checks out the connection and begins the transaction, so that no connection is held
    while a body arrives or a password is hashed.
    """
    state = request_state(request.scope)
    async with http_resources(request).database.transaction() as session:
        state.transaction = session
        try:
            return await handler(request)
        finally:
            state.transaction = None


async def run_in_transaction_with_retry(request: Request, handler: Handler) -> Response:
    """Run a handler in a transaction, and once more if Postgres rolled it back.

    That happens for example after a deadlock. The handler must be able to run twice.
    """
    try:
        return await run_in_transaction(request, handler)
    except Exception as error:
        if not may_retry_transaction(error):
            raise
    return await run_in_transaction(request, handler)
