"""Which SQL the service sends, by the public hooks of SQLAlchemy and of the driver.

SQLAlchemy tells of what it executes before it does, and the driver of what it is asked to execute
by itself, which is the fast path and BEGIN, COMMIT and so on, in the next turn of the event loop.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

from app.core.db import Database

StatementCallback = Callable[[str, Any], None]
# How the statements begin that SQLAlchemy adds for a transaction, and that the driver adds to learn
# what an unknown type is.
_LIBRARY_STATEMENTS = (
    *("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"),
    *("WITH RECURSIVE typeinfo_tree", "SELECT current_setting('jit')", "SELECT set_config('jit'"),
)


def is_sent_by_library(statement: str) -> bool:
    """Whether no session was asked to execute this statement."""
    return " ".join(statement.split()).startswith(_LIBRARY_STATEMENTS)


async def wait_for_statement_callbacks() -> None:
    """Let all statements be noted that have been sent until now."""
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(turn.set_result, None)
    await turn


def all_engines(database: Database) -> set[Engine]:
    """The engines of all binds."""
    return {sessions.engine.sync_engine for sessions in database.named_databases.values()}


@contextmanager
def observe_session_statements(database: Database, note: StatementCallback) -> Iterator[None]:
    """Call `note` with every statement that sessions execute in the block, and its parameters."""

    def note_all(statement: str, parameters: Any) -> None:
        if not is_sent_by_library(statement):
            note(statement, parameters)

    with observe_all_statements(database, note_all):
        yield


@contextmanager
def observe_all_statements(database: Database, note: StatementCallback) -> Iterator[None]:
    """Call `note` with every statement that is sent in the block, and its parameters."""

    def before_cursor_execute(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        # As the driver does it, so that the order stays.
        asyncio.get_running_loop().call_soon(note, statement, parameters)

    def log(query: asyncpg.connection.LoggedQuery) -> None:
        note(query.query, query.args)

    def checkout(dbapi_connection: Any, *_: object) -> None:
        dbapi_connection.driver_connection.add_query_logger(log)

    def checkin(dbapi_connection: Any, _entry: object) -> None:
        if dbapi_connection is not None:
            dbapi_connection.driver_connection.remove_query_logger(log)

    with ExitStack() as stack:
        for engine in all_engines(database):
            for name, listener in (
                ("before_cursor_execute", before_cursor_execute),
                ("checkout", checkout),
                ("checkin", checkin),
            ):
                event.listen(engine, name, listener)
                stack.callback(event.remove, engine, name, listener)
        yield
