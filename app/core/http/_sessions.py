"""Dependencies that give endpoints their database sessions, and the transactions of requests.

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

from app.core.db import AutocommitSession, Session, TransactionSession
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources

# The rest of the handling of a request, for example the call of its endpoint.
Handler = Callable[[Request], Awaitable[Response]]


async def _request_session(request: Request) -> Session:
    """Return the database session in which an endpoint executes its statements.

    This is the transaction of the request if it has one. Otherwise, each statement is committed by
    itself, and a GET request uses the session for reads.
    """
    transaction = request_state(request.scope).transaction
    if transaction is not None:
        return transaction
    database = http_resources(request).database
    if request.method == "GET":
        return database.reads
    return database.writes


async def _current_transaction(request: Request) -> TransactionSession:
    """Return the transaction that the route has opened because the endpoint depends on it."""
    transaction = request_state(request.scope).transaction
    if transaction is None:
        raise RuntimeError("Only endpoints of core.http.Router can depend on a Transaction.")
    return transaction


def read_session_dependency(
    database_name: str,
) -> Callable[[Request], Awaitable[AutocommitSession]]:
    """Return a dependency that gives an endpoint a session for reading from another database.

    The session executes each statement in a transaction of its own. `database_name` is one of the
    databases in `Database.named_databases`, for example "reporting".
    """

    async def read_session(request: Request) -> AutocommitSession:
        """Return the session for reads of the named database."""
        return http_resources(request).database.named_databases[database_name].reads

    return read_session


RequestSession = Annotated[Session, Depends(_request_session)]
Transaction = Annotated[TransactionSession, Depends(_current_transaction)]
ReportingSession = Annotated[AutocommitSession, Depends(read_session_dependency("reporting"))]


def needs_transaction(dependant: Dependant) -> bool:
    """Return whether an endpoint or one of its dependencies has a parameter of type `Transaction`.

    `dependant` is FastAPI's analysis of the endpoint.
    """
    if dependant.call is _current_transaction:
        return True
    return any(needs_transaction(dependency) for dependency in dependant.dependencies)


async def run_in_transaction(request: Request, handler: Handler) -> Response:
    """Handle a request in a database transaction, and return the response after the commit.

    If the handler raises an exception, the transaction is rolled back. The transaction begins with
    the first statement of the handler, so that a handler does not occupy a connection while it
    waits for a body or hashes a password.
    """
    async with http_resources(request).database.transaction() as session:
        return await _handle_in_transaction(session, request, handler)


async def run_in_transaction_with_retries(request: Request, handler: Handler) -> Response:
    """Handle a request in a transaction, and try again if Postgres rolls the transaction back.

    Postgres does so to end a deadlock, for example. The handler must be able to run several times.
    """

    async def handle(session: TransactionSession) -> Response:
        return await _handle_in_transaction(session, request, handler)

    return await http_resources(request).database.writes.run_in_transaction(handle)


async def _handle_in_transaction(
    session: TransactionSession, request: Request, handler: Handler
) -> Response:
    """Call a handler while the session is the transaction of the request."""
    state = request_state(request.scope)
    state.transaction = session
    try:
        return await handler(request)
    finally:
        state.transaction = None
