"""The fast path: sends the SQL of a reusable statement straight to the driver.

What it replaces. SQLAlchemy's execution of a statement looks up the compiled text in a cache,
converts the parameters, describes the result and wraps the rows, all in a greenlet. For a
statement that is marked `reusable` and is a transaction of its own, this module

- compiles the statement once and keeps its text and the order of its parameters,
- checks out an idle connection without a greenlet, unless the pool has to replace it,
- calls `fetch` of the asyncpg connection and returns asyncpg's records, which are mappings.

What it gains: see docs/architecture.md. The reasons are in
docs/decisions/rows-instead-of-entities.md.

What stays with SQLAlchemy: connecting, the pool, what happens after an error, and every statement
that this module does not support. `DB_FAST_PATH=false` leaves all statements to SQLAlchemy, with
the same rows and the same errors; `tests/core/test_fast_path.py` compares them.

Which internals it relies on:

- `connection.connection.driver_connection` is the asyncpg connection (documented).
- The attributes of `SQLCompiler` that `_compile` reads (public, mostly undocumented).
- `Engine.connect()` works without a greenlet while it need not open a connection. If it has to
  open one, it calls `do_connect`, where `_require_greenlet` raises `MissingGreenlet`.
- `Connection._handle_dbapi_exception` and the `_handle_exception` of the dialect's connection
  wrap the error of a driver, and discard a connection that is lost.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from app.core.db._sessions import ExecuteStatement, Parameters, Rows, is_reusable
from app.core.observability import StatementTimer

_DIALECT: Final = dialect()  # type: ignore[no-untyped-call]
# A missing value, or a value of the wrong type, causes these errors. The statement is then left to
# SQLAlchemy, which raises its own error for the value.
_BAD_VALUES: Final = (AttributeError, KeyError, TypeError, ValueError)
Convert = Callable[[Any], Any]


@dataclass(frozen=True)
class DriverStatement:
    """A statement as the driver executes it."""

    # With `$1`, `$2` and so on for the parameters.
    sql: str
    # The name of each parameter, and the function that makes its value one that the driver takes.
    parameters: Sequence[tuple[str, Convert | None]]
    # The values that are part of the statement, for example of `column + 1`.
    constants: Parameters

    def arguments(self, parameters: Parameters) -> list[Any]:
        """Return the values of `$1`, `$2` and so on."""
        values = {**self.constants, **parameters}
        return [
            values[name] if convert is None else convert(values[name])
            for name, convert in self.parameters
        ]


# The compiled form of each reusable statement, or None if the fast path does not support it. A key
# is compared by identity. A value does not refer to its key, so both can be garbage-collected.
_compiled_statements: WeakKeyDictionary[sa.Executable, DriverStatement | None] = WeakKeyDictionary()


class FastPath:
    """Executes reusable statements fast, and leaves all others to the function `fallback`."""

    def __init__(self, engine: sa.Engine, fallback: ExecuteStatement) -> None:
        self._engine = engine
        self._fallback = fallback
        event.listen(engine, "do_connect", _require_greenlet)

    async def execute(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        driver_statement = find_driver_statement(statement)
        if driver_statement is None:
            return await self._fallback(statement, parameters)
        try:
            arguments = driver_statement.arguments(parameters)
        except _BAD_VALUES:
            return await self._fallback(statement, parameters)
        return await self._fetch(driver_statement.sql, arguments)

    async def _fetch(self, sql: str, arguments: list[Any]) -> Rows:
        with await self._check_out() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                with StatementTimer(sql):
                    return cast("Rows", await driver.fetch(sql, *arguments))
            except BaseException as error:
                await greenlet_spawn(_raise_translated, connection, sql, arguments, error)
                raise  # for the type checker: the function always raises

    async def _check_out(self) -> sa.Connection:
        pool = self._engine.pool
        if isinstance(pool, sa.QueuePool) and pool.checkedin():
            # The pool may have to replace the idle connection, which needs a greenlet after all.
            with suppress(MissingGreenlet):
                return self._engine.connect()
        return await greenlet_spawn(self._engine.connect)


def find_driver_statement(statement: sa.Executable) -> DriverStatement | None:
    """Return the compiled statement, or None if SQLAlchemy has to execute it."""
    try:
        return _compiled_statements[statement]
    except KeyError:
        if not is_reusable(statement):
            return None
    driver_statement = _compile(statement)
    _compiled_statements[statement] = driver_statement
    return driver_statement


def _compile(statement: sa.Executable) -> DriverStatement | None:
    if not isinstance(statement, sa.SelectBase | sa.UpdateBase):
        return None
    if any(_is_converted(column.type) for column in statement.exported_columns):
        return None
    compiled = statement.compile(dialect=_DIALECT)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - a query is not DDL
    if compiled.post_compile_params or compiled.literal_execute_params:
        # The text depends on the values: `IN` has as many parameters as there are values.
        return None
    if compiled.insert_prefetch or compiled.update_prefetch:
        # SQLAlchemy computes the default of a column in Python.
        return None
    binds = compiled.binds
    if any(bind.callable for bind in binds.values()):
        # A constant that SQLAlchemy computes at each execution.
        return None
    constants = {name: value for name, value in compiled.params.items() if not binds[name].required}
    parameters = [
        (name, binds[name].type.dialect_impl(_DIALECT).bind_processor(_DIALECT))
        for name in compiled.positiontup or ()
    ]
    return DriverStatement(str(compiled), parameters, constants)


def _is_converted(column_type: sa.types.TypeEngine[Any]) -> bool:
    """Return whether SQLAlchemy converts the values from the driver, as it does for an Enum."""
    if isinstance(column_type, sa.Numeric):
        # The conversion of a Numeric depends on the type that the server returns.
        return True
    return column_type.dialect_impl(_DIALECT).result_processor(_DIALECT, None) is not None


def _raise_translated(
    connection: sa.Connection, sql: str, arguments: list[Any], error: BaseException
) -> None:
    """Raise an error as SQLAlchemy's execution does, and discard the connection if it is lost.

    After a cancellation the connection is in an unknown state, so it is discarded as well.
    """
    dbapi: Any = connection.dialect.loaded_dbapi
    adapted_connection: Any = connection.connection.dbapi_connection
    # Each error is handled while it is raised: SQLAlchemy reads `sys.exc_info()`.
    try:
        if isinstance(error, Exception):
            adapted_connection._handle_exception(error)  # noqa: SLF001
        raise error  # noqa: TRY301
    except dbapi.Error as dbapi_error:
        values = tuple(arguments)
        connection._handle_dbapi_exception(dbapi_error, sql, values, None, None)  # noqa: SLF001
    except BaseException as other_error:  # noqa: BLE001 - the call below raises it
        connection._handle_dbapi_exception(other_error, None, None, None, None)  # noqa: SLF001


def _require_greenlet(*_: object) -> None:
    """Raise `MissingGreenlet` before the driver starts to connect outside a greenlet.

    Without it the driver would create a coroutine that is never awaited.
    """
    if not in_greenlet():
        raise MissingGreenlet
