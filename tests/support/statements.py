"""Observes the SQL statements that the service sends to its databases.

SQLAlchemy reports a statement before it is executed. The driver reports its own statements (those
of the fast path, BEGIN, COMMIT and so on) in the next iteration of the event loop. Callbacks for
both run in the next iteration, so that they keep the order of the statements.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

from app.core.db import Database

# Called with the SQL of a statement and its parameters.
StatementCallback = Callable[[str, Any], None]
# The beginnings of statements that SQLAlchemy sends to control a transaction, and that the driver
# sends to learn the definition of a type.
_LIBRARY_STATEMENTS = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "WITH RECURSIVE typeinfo_tree",
    "SELECT current_setting('jit')",
    "SELECT set_config('jit'",
)


def is_sent_by_library(statement: str) -> bool:
    """Return whether SQLAlchemy or the driver sends a statement by itself, for example COMMIT."""
    return " ".join(statement.split()).startswith(_LIBRARY_STATEMENTS)


async def wait_for_statement_callbacks() -> None:
    """Return when the callbacks for all statements that were sent so far have been called."""
    loop = asyncio.get_running_loop()
    next_iteration = loop.create_future()
    loop.call_soon(next_iteration.set_result, None)
    await next_iteration


def all_engines(database: Database) -> set[Engine]:
    """Return the engines of all named databases."""
    return {sessions.engine.sync_engine for sessions in database.named_databases.values()}


@contextmanager
def observe_session_statements(database: Database, callback: StatementCallback) -> Iterator[None]:
    """Call `callback` with each statement that sessions execute in the block.

    Statements that SQLAlchemy or the driver sends by itself are left out.
    """

    def skip_library_statements(statement: str, parameters: Any) -> None:
        if not is_sent_by_library(statement):
            callback(statement, parameters)

    with observe_all_statements(database, skip_library_statements):
        yield


@contextmanager
def observe_all_statements(database: Database, callback: StatementCallback) -> Iterator[None]:
    """Call `callback` with each statement that is sent in the block, also BEGIN and COMMIT."""

    def before_cursor_execute(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        # The driver calls its query loggers in the next iteration too, so the order is kept.
        asyncio.get_running_loop().call_soon(callback, statement, parameters)

    def log_driver_query(query: asyncpg.connection.LoggedQuery) -> None:
        callback(query.query, query.args)

    def checkout(dbapi_connection: Any, *_: object) -> None:
        dbapi_connection.driver_connection.add_query_logger(log_driver_query)

    def checkin(dbapi_connection: Any, _entry: object) -> None:
        # The connection is None if it was closed while it was checked out.
        if dbapi_connection is not None:
            dbapi_connection.driver_connection.remove_query_logger(log_driver_query)

    listeners: tuple[Callable[..., None], ...] = (before_cursor_execute, checkout, checkin)
    with ExitStack() as stack:
        for engine in all_engines(database):
            for listener in listeners:
                event_name = listener.__name__
                event.listen(engine, event_name, listener)
                stack.callback(event.remove, engine, event_name, listener)
        yield
