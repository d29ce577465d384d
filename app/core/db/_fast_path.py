"""The database fast path: executes the SQL of reusable statements with the driver itself.

SQLAlchemy executes a statement in a greenlet. Each time, it looks up the compiled SQL in a cache,
converts the parameters, describes the result and wraps the rows. If a statement is marked with
`mark_reusable` and is committed by itself, this module

- compiles the statement once and keeps its SQL and the order of its parameters,
- checks out an idle connection without a greenlet, unless the pool has to replace it,
- calls `fetch` of the asyncpg connection and returns asyncpg's records, which are mappings.

SQLAlchemy still opens the connections, manages the pool, handles errors, and executes every
statement that this module does not support. With `DB_FAST_PATH=false` it executes all statements,
with the same rows and the same errors, which `tests/core/test_fast_path.py` verifies.
docs/architecture.md has measurements; docs/decisions/rows-instead-of-entities.md has the reasons.

The module relies on these internals of SQLAlchemy:

- `connection.connection.driver_connection` is the asyncpg connection (documented).
- The attributes of `SQLCompiler` that this module reads (public, mostly undocumented).
- `Engine.connect()` works without a greenlet unless it has to open a connection. In that case it
  triggers the event `do_connect`, for which `_require_greenlet` raises `MissingGreenlet`.
- `Connection._handle_dbapi_exception`, and `_handle_exception` of the dialect's connection, wrap
  the error of a driver and discard a lost connection.
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

_POSTGRES: Final = dialect()  # type: ignore[no-untyped-call]
# Errors that a missing value, or a value of the wrong type, causes when it is converted.
_CONVERSION_ERRORS: Final = (AttributeError, KeyError, TypeError, ValueError)
# Converts the value of a parameter to one that the driver accepts, for example a dict to JSON.
ConvertParameter = Callable[[Any], Any]


@dataclass(frozen=True)
class DriverStatement:
    """A compiled statement that the driver can execute.

    Args:
        sql: The SQL with numbered parameters, for example `SELECT name FROM authors WHERE id = $1`.
        parameters: The name of each numbered parameter, and the function that converts its value,
            or None if the driver accepts the value as it is.
        constants: Parameters whose values are part of the statement, for example of `version + 1`.
    """

    sql: str
    parameters: Sequence[tuple[str, ConvertParameter | None]]
    constants: Parameters

    def arguments(self, parameters: Parameters) -> list[Any]:
        """Return the values of `$1`, `$2` and so on, in this order.

        Raises one of `_CONVERSION_ERRORS` if a value is missing or has the wrong type.
        """
        values = {**self.constants, **parameters}
        arguments = []
        for name, convert in self.parameters:
            value = values[name]
            if convert is not None:
                value = convert(value)
            arguments.append(value)
        return arguments


# The compiled form of each reusable statement, or None if the fast path does not support it. Keys
# are compared by identity. A value does not refer to its key, so both can be garbage-collected.
_compiled_statements: WeakKeyDictionary[sa.Executable, DriverStatement | None] = WeakKeyDictionary()


class FastPath:
    """Executes reusable statements with the driver, and other statements with `fallback`."""

    def __init__(self, engine: sa.Engine, fallback: ExecuteStatement) -> None:
        self._engine = engine
        self._fallback = fallback
        event.listen(engine, "do_connect", _require_greenlet)

    async def execute(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        """Execute and commit a statement. Return its rows as mappings."""
        driver_statement = find_driver_statement(statement)
        if driver_statement is None:
            return await self._fallback(statement, parameters)
        try:
            arguments = driver_statement.arguments(parameters)
        except _CONVERSION_ERRORS:
            # SQLAlchemy raises a more helpful error for the same value.
            return await self._fallback(statement, parameters)
        return await self._fetch(driver_statement.sql, arguments)

    async def _fetch(self, sql: str, arguments: list[Any]) -> Rows:
        """Execute SQL with the driver. Raises the errors that SQLAlchemy would raise."""
        with await self._check_out() as connection:
            driver_connection: Any = connection.connection.driver_connection
            try:
                with StatementTimer(sql):
                    return cast("Rows", await driver_connection.fetch(sql, *arguments))
            except BaseException as error:
                await greenlet_spawn(_raise_sqlalchemy_error, connection, sql, arguments, error)
                raise  # for the type checker: the function always raises

    async def _check_out(self) -> sa.Connection:
        """Check out a connection, without a greenlet if the pool has an idle one."""
        pool = self._engine.pool
        if isinstance(pool, sa.QueuePool) and pool.checkedin() > 0:
            # The pool may have to replace the idle connection, which needs a greenlet after all.
            with suppress(MissingGreenlet):
                return self._engine.connect()
        return await greenlet_spawn(self._engine.connect)


def find_driver_statement(statement: sa.Executable) -> DriverStatement | None:
    """Return the compiled form of a reusable statement, compiling it when it is first used.

    Returns None if SQLAlchemy has to execute the statement, because it is not reusable or because
    the fast path does not support it.
    """
    try:
        return _compiled_statements[statement]
    except KeyError:
        if not is_reusable(statement):
            return None
    driver_statement = _compile_for_driver(statement)
    _compiled_statements[statement] = driver_statement
    return driver_statement


def _compile_for_driver(statement: sa.Executable) -> DriverStatement | None:
    """Compile a statement. Return None if the driver cannot execute it without SQLAlchemy."""
    if not isinstance(statement, sa.SelectBase | sa.UpdateBase):
        return None
    if any(_converts_results(column.type) for column in statement.exported_columns):
        return None
    compiled = statement.compile(dialect=_POSTGRES)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - a query is not DDL
    if compiled.post_compile_params or compiled.literal_execute_params:
        # The SQL depends on the values: `IN` has as many parameters as there are values.
        return None
    if compiled.insert_prefetch or compiled.update_prefetch:
        # SQLAlchemy computes the default of a column in Python.
        return None
    bind_parameters = compiled.binds
    if any(bind_parameter.callable for bind_parameter in bind_parameters.values()):
        # SQLAlchemy computes the value of a constant at each execution.
        return None
    constants = {
        name: value for name, value in compiled.params.items() if not bind_parameters[name].required
    }
    parameters = []
    for name in compiled.positiontup or ():
        parameter_type = bind_parameters[name].type.dialect_impl(_POSTGRES)
        parameters.append((name, parameter_type.bind_processor(_POSTGRES)))
    return DriverStatement(str(compiled), parameters, constants)


def _converts_results(column_type: sa.types.TypeEngine[Any]) -> bool:
    """Return whether SQLAlchemy converts values that the driver returns, as it does for an Enum."""
    if isinstance(column_type, sa.Numeric):
        # The conversion of a Numeric depends on the type that the server returns.
        return True
    return column_type.dialect_impl(_POSTGRES).result_processor(_POSTGRES, None) is not None


def _raise_sqlalchemy_error(
    connection: sa.Connection, sql: str, arguments: list[Any], error: BaseException
) -> None:
    """Raise a driver's error as SQLAlchemy would, and discard the connection if it is lost.

    The connection is also discarded after a cancellation, because its state is unknown then.
    """
    dbapi: Any = connection.dialect.loaded_dbapi
    adapted_connection: Any = connection.connection.dbapi_connection
    # Each error is handled while it is raised, because SQLAlchemy reads `sys.exc_info()`.
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
    """Raise `MissingGreenlet` if SQLAlchemy is about to open a connection outside a greenlet.

    Otherwise the driver would create a coroutine that is never awaited.
    """
    if not in_greenlet():
        raise MissingGreenlet
