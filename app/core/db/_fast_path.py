"""The database fast path: executes the SQL of reusable statements with the driver itself.

SQLAlchemy executes a statement in a greenlet. Each time, it looks up the compiled SQL in a cache,
converts the parameters, describes the result and wraps the rows. If a statement is marked with
`mark_reusable` and is committed by itself, this module

- compiles the statement once and keeps its SQL and the order of its parameters,
- checks out an idle connection without a greenlet and without the objects in which SQLAlchemy wraps
  it, unless the pool has to replace it (`ConnectionPool.check_out_idle`),
- calls `fetch` of the asyncpg connection and returns asyncpg's records, which are mappings.

SQLAlchemy still opens the connections, manages the pool, handles errors, and executes every
statement that this module does not support. With `DB_FAST_PATH=false` it executes all statements,
with the same rows and the same errors, which `tests/core/test_fast_path.py` verifies.
docs/architecture.md has measurements; docs/decisions/rows-instead-of-entities.md has the reasons.

The module relies on these internals of SQLAlchemy:

- `connection.connection.driver_connection` is the asyncpg connection (documented).
- The attributes of `SQLCompiler` that this module reads (public, mostly undocumented).
- `Pool._do_return_conn` and the attributes of a pool's entry that `ConnectionPool` reads. `_pool`,
  the queue of a pool, returns the newest connection first.
- `_ConnectionFairy`, in which SQLAlchemy wraps an entry. `wrap_pool_entry` does so after an error.
- `Connection._handle_dbapi_exception`, and `_handle_exception` of the dialect's connection, wrap
  the error of a driver and discard a lost connection.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import greenlet_spawn

from app.core.db._driver_errors import raise_sqlalchemy_error, wrap_pool_entry
from app.core.db._pool import ConnectionPool
from app.core.db._sessions import ExecuteStatement, Parameters, Rows, is_reusable
from app.core.db._statement_names import find_statement_name
from app.core.observability import StatementTimer

_POSTGRES: Final = dialect()  # type: ignore[no-untyped-call]
# Errors that a missing value, or a value of the wrong type, causes when it is converted.
_CONVERSION_ERRORS: Final = (AttributeError, KeyError, TypeError, ValueError)
# Converts the value of a parameter to one that the driver accepts, for example a dict to JSON.
ConvertParameter = Callable[[Any], Any]


@dataclass(frozen=True)
class DriverStatement:
    """A compiled statement that the driver can execute without SQLAlchemy.

    Args:
        name: The name of the statement in the metrics, for example "authors.select_row".
        sql: The SQL with numbered parameters, for example `SELECT name FROM authors WHERE id = $1`.
        parameter_converters: The name of each numbered parameter, and the function that converts
            its value, for example `("id", None)`. None means that the driver accepts the value.
        constants: The values that the statement itself contains, such as the 1 of `version + 1`.
    """

    name: str
    sql: str
    parameter_converters: Sequence[tuple[str, ConvertParameter | None]]
    constants: Parameters

    def convert_parameters(self, parameters: Parameters) -> list[Any]:
        """Return the values of `$1`, `$2` and so on in this order, as the driver expects them.

        Raises one of `_CONVERSION_ERRORS` if a value is missing or has the wrong type.
        """
        values_by_name = {**self.constants, **parameters}
        driver_values = []
        for name, convert in self.parameter_converters:
            value = values_by_name[name]
            if convert is not None:
                value = convert(value)
            driver_values.append(value)
        return driver_values


# The compiled form of each reusable statement, or None if the fast path does not support it. Keys
# are compared by identity. A value does not refer to its key, so both can be garbage-collected.
_compiled_statements: WeakKeyDictionary[sa.Executable, DriverStatement | None] = WeakKeyDictionary()


class FastPath:
    """Executes reusable statements directly with the driver, which is faster than SQLAlchemy.

    Args:
        engine: The SQLAlchemy engine whose connections are used.
        fallback: Executes the statements that need SQLAlchemy.
    """

    def __init__(self, engine: sa.Engine, fallback: ExecuteStatement) -> None:
        self._engine = engine
        self._fallback = fallback

    async def execute(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        """Execute and commit a statement. Return its rows as mappings."""
        driver_statement = find_driver_statement(statement)
        if driver_statement is None:
            return await self._fallback(statement, parameters)
        try:
            driver_values = driver_statement.convert_parameters(parameters)
        except _CONVERSION_ERRORS:
            # A value is invalid. Let SQLAlchemy raise the error, because its message is better.
            return await self._fallback(statement, parameters)
        return await self._fetch_rows(driver_statement, driver_values)

    async def _fetch_rows(self, statement: DriverStatement, driver_values: list[Any]) -> Rows:
        """Execute SQL directly with the driver. Raise the same errors as SQLAlchemy."""
        # An engine gets a new pool when it is disposed of.
        pool = cast("ConnectionPool", self._engine.pool)
        pool_entry = pool.check_out_idle()
        if pool_entry is None:
            return await self._fetch_rows_after_waiting(statement, driver_values)
        try:
            rows = await _fetch(pool_entry.driver_connection, statement, driver_values)
        except BaseException as error:
            # SQLAlchemy also returns the connection to the pool, or discards it.
            with wrap_pool_entry(self._engine, pool, pool_entry) as connection:
                await _raise_from(error, connection, statement, driver_values)
            raise
        pool.put_back(pool_entry)
        return rows

    async def _fetch_rows_after_waiting(
        self, statement: DriverStatement, driver_values: list[Any]
    ) -> Rows:
        """Execute SQL on a connection that SQLAlchemy waits for, opens or replaces."""
        with await greenlet_spawn(self._engine.connect) as connection:
            driver_connection = connection.connection.driver_connection
            try:
                return await _fetch(driver_connection, statement, driver_values)
            except BaseException as error:
                await _raise_from(error, connection, statement, driver_values)
                raise


async def _fetch(
    driver_connection: Any, statement: DriverStatement, driver_values: list[Any]
) -> Rows:
    """Execute SQL with a connection of the driver, and measure its duration."""
    with StatementTimer(statement.sql, statement.name):
        return cast("Rows", await driver_connection.fetch(statement.sql, *driver_values))


async def _raise_from(
    error: BaseException,
    connection: sa.Connection,
    statement: DriverStatement,
    driver_values: list[Any],
) -> None:
    """Have SQLAlchemy handle an error of the driver, and raise the error that it would raise.

    SQLAlchemy discards a broken connection, which may wait for the network, so it runs in a
    greenlet.
    """
    await greenlet_spawn(raise_sqlalchemy_error, connection, statement.sql, driver_values, error)


def find_driver_statement(statement: sa.Executable) -> DriverStatement | None:
    """Return the compiled form of a reusable statement. Compile it when it is first used.

    Returns None if SQLAlchemy has to execute the statement, because it is not marked as reusable or
    because the fast path does not support it.
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
    # `UpdateBase` is the base class of INSERT, UPDATE and DELETE.
    if not isinstance(statement, sa.SelectBase | sa.UpdateBase):
        return None
    if any(_converts_results(column.type) for column in statement.exported_columns):
        return None

    compiled = statement.compile(dialect=_POSTGRES)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - a query is not DDL
    if _needs_sqlalchemy_at_execution(compiled):
        return None

    # The caller passes the values of required parameters. The statement contains all others.
    constants = {
        name: value for name, value in compiled.params.items() if not compiled.binds[name].required
    }
    sql = str(compiled)
    name = find_statement_name(sql, statement.get_execution_options())
    return DriverStatement(name, sql, _find_parameter_converters(compiled), constants)


def _find_parameter_converters(
    compiled: SQLCompiler,
) -> Sequence[tuple[str, ConvertParameter | None]]:
    """Return the name of each numbered parameter, and the function that converts its value.

    For example, the result for `SELECT name FROM authors WHERE id = $1` is `[("id", None)]`,
    because the driver accepts the value of `id` without a conversion.
    """
    names_in_order_of_numbers = compiled.positiontup or []
    parameter_converters = []
    for name in names_in_order_of_numbers:
        parameter_type = compiled.binds[name].type.dialect_impl(_POSTGRES)
        convert_parameter = parameter_type.bind_processor(_POSTGRES)
        parameter_converters.append((name, convert_parameter))
    return parameter_converters


def _needs_sqlalchemy_at_execution(compiled: SQLCompiler) -> bool:
    """Return whether SQLAlchemy changes the SQL or computes values at each execution."""
    # SQLAlchemy gives `IN`, for example, as many parameters as there are values.
    changes_sql = compiled.post_compile_params or compiled.literal_execute_params
    # Defaults of columns that are Python functions, for example `default=uuid4`.
    computes_defaults = compiled.insert_prefetch or compiled.update_prefetch
    # Constants that are Python functions, for example `bindparam("now", callable_=datetime.now)`.
    computes_constants = any(parameter.callable for parameter in compiled.binds.values())
    return bool(changes_sql or computes_defaults or computes_constants)


def _converts_results(column_type: sa.types.TypeEngine[Any]) -> bool:
    """Return whether SQLAlchemy converts the values of a column, for example to an Enum member."""
    if isinstance(column_type, sa.Numeric):
        # SQLAlchemy decides by the type that the server returns, which is not known yet.
        return True
    return column_type.dialect_impl(_POSTGRES).result_processor(_POSTGRES, None) is not None
