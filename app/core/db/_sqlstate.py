"""Translates errors of the database into errors of the service, by their SQLSTATE.

An SQLSTATE is a code of five characters that Postgres gives each error, for example "23505" for a
violated unique constraint. Messages are never examined, because they depend on the language.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import errors
from app.core.db._server_errors import (
    POOLER_ADVICE,
    ConnectingFailed,
    ServerIsReadOnly,
    ServerUnusable,
)
from app.core.field_errors import FieldError

# Errors of asyncpg, which SQLAlchemy wraps in a DBAPIError, but not during COPY.
_DRIVER_ERRORS: Final = (InterfaceError, InternalClientError, PostgresError)
DATABASE_ERRORS: Final = (DBAPIError, PoolTimeout, ServerUnusable, *_DRIVER_ERRORS)
# The driver raises an OSError if the network fails.
DATABASE_AND_OS_ERRORS: Final = (*DATABASE_ERRORS, OSError)

# Regular expressions for SQLSTATEs, and the error to raise for them. The first match counts.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_ERRORS_BY_SQLSTATE: Final[tuple[tuple[str, type[errors.ServiceError]], ...]] = (
    ("23(001|503|505|P01)", errors.ConstraintViolated),  # restrict, foreign key, unique, exclusion
    ("23(502|514)|22...|54...", errors.InvalidRequest),  # not null, check, data, limits exceeded
    ("40001|40P01", errors.Conflict),  # serialization failure, deadlock
    ("53...|57014|55P03|25P0[34]", errors.Overloaded),  # resources; statement and lock timeouts
    # Connection, shutting down, starting up, I/O. A pooler may report the rejected login of its own
    # connection, or a database that does not exist, when a statement is executed.
    ("08...|28...|3D000|57P0.|58...", errors.Unavailable),
    ("26000|42P05", errors.Unavailable),  # see _LOST_STATEMENT_SQLSTATES
)
# The result of a prepared statement has other columns than when it was planned.
_STALE_PLAN_SQLSTATE: Final = "0A000"
# Serialization failure and deadlock.
_CONFLICT_SQLSTATES: Final = {"40001", "40P01"}
# `statement_timeout` or `lock_timeout` has cancelled the statement.
_TIMEOUT_SQLSTATES: Final = {"57014", "55P03"}
# The connection does not exist, failed, was terminated by an administrator, or the server crashed.
_CONNECTION_LOST_SQLSTATES: Final = {"08003", "08006", "57P01", "57P02"}
# A prepared statement does not exist, or exists already. A transaction-mode pooler that DB_POOLER
# does not describe has used another connection to Postgres than before.
_LOST_STATEMENT_SQLSTATES: Final = {"26000", "42P05"}
_OUT_OF_RESOURCES: Final = "53..."
log = logging.getLogger(__name__)
_READ_ONLY_DETAIL: Final = "The database does not accept writes at the moment. Retry later."
_REFUSED_VALUE: Final = FieldError(
    pointer="", code="refused", detail="The database refused a value"
)


@contextmanager
def translate_database_errors(
    error_types: tuple[type[Exception], ...] = DATABASE_AND_OS_ERRORS, *, read_only: bool = False
) -> Iterator[None]:
    """Replace a database error that the `with` block raises by the matching `ServiceError`.

    Errors of other types than `error_types` are not replaced. See `translate_error`.
    """
    try:
        yield
    except error_types as error:
        raise translate_error(error, read_only=read_only) from error


def translate_error(error: Exception, *, read_only: bool = False) -> Exception:
    """Return the `ServiceError` to raise in place of a database error, for example `Overloaded`.

    If the error is caused by a bug in the service, for example by invalid SQL, returns the database
    error itself. Logs a warning if the database is down or overloaded.

    `read_only` says that the database is only read. It may be a standby, which cancels statements
    that need rows or locks which the primary has removed. Such an error has the SQLSTATE of a
    serialization failure, but does not mean that two clients changed the same row.
    """
    service_error: errors.ServiceError | None
    if isinstance(error, ServerUnusable):
        service_error = _describe_unusable_server(error)
    else:
        service_error = _find_service_error(error)
    if service_error is None:
        return error
    if read_only and find_sqlstate(error) in _CONFLICT_SQLSTATES:
        service_error = errors.Unavailable()
    if isinstance(service_error, errors.Unavailable):
        message = str(error) or repr(error)
        if find_sqlstate(error) in _LOST_STATEMENT_SQLSTATES:
            message += f". If a connection pooler is in use, {POOLER_ADVICE}"
        log.warning("the database failed or is overloaded: %s", message)
    return service_error


def is_conflict(error: BaseException) -> bool:
    """Return whether Postgres has undone a transaction because of a concurrent one.

    `error` is either a database error, or a `ServiceError` whose cause is a database error.
    """
    return _find_sqlstate_of_statement(error) in _CONFLICT_SQLSTATES


def is_stale_plan(error: BaseException) -> bool:
    """Return whether a migration has made the plan of a prepared statement stale.

    The driver has discarded the plan, so the same statement succeeds now. `error` is either a
    database error, or a `ServiceError` whose cause is a database error.
    """
    return _find_sqlstate_of_statement(error) == _STALE_PLAN_SQLSTATE


def is_timeout(error: errors.ServiceError) -> bool:
    """Return whether the cause of an error is a statement that Postgres cancelled by a timeout."""
    return _find_sqlstate_of_statement(error) in _TIMEOUT_SQLSTATES


def _find_service_error(error: BaseException) -> errors.ServiceError | None:
    """Return the `ServiceError` for a database error, or None if a bug in the service caused it.

    An error without a matching pattern in `_ERRORS_BY_SQLSTATE`, such as "42601" (syntax error),
    is a bug, unless the connection failed or the pool is exhausted.
    """
    driver_error = _unwrap_driver_error(error)
    sqlstate = find_sqlstate(error)
    error_class = _find_error_class(sqlstate)

    if error_class is errors.ConstraintViolated:
        constraint_name = getattr(driver_error, "constraint_name", None)
        return errors.ConstraintViolated(constraint_name or "")
    if error_class is errors.InvalidRequest or _is_encoding_error(driver_error):
        return errors.InvalidRequest(_REFUSED_VALUE)
    if error_class is not None:
        return error_class()

    # The remaining errors with an SQLSTATE are bugs. The pool and the driver raise errors without.
    if isinstance(error, PoolTimeout):
        return errors.Overloaded()
    if not sqlstate:
        is_driver_failure = isinstance(driver_error, OSError | InterfaceError)
        if is_driver_failure or is_connection_lost(error):
            return errors.Unavailable()
    return None


def _describe_unusable_server(error: ServerUnusable) -> errors.Unavailable:
    """Return the error to raise if connecting failed, or if the server accepts no writes."""
    if isinstance(error, ServerIsReadOnly):
        return errors.Unavailable(_READ_ONLY_DETAIL)
    if re.fullmatch(_OUT_OF_RESOURCES, find_sqlstate(error)):
        return errors.Overloaded()
    return errors.Unavailable()


def find_connecting_problem(error: errors.ServiceError) -> str | None:
    """Return why a server refused a connection, for example "rejects the login".

    Returns None if the cause of the error is something else.
    """
    if isinstance(error.__cause__, ConnectingFailed):
        return error.__cause__.reason
    return None


def _find_error_class(sqlstate: str) -> type[errors.ServiceError] | None:
    """Return the class of the `ServiceError` for an SQLSTATE, or None for one that means a bug."""
    for pattern, error_class in _ERRORS_BY_SQLSTATE:
        if re.fullmatch(pattern, sqlstate):
            return error_class
    return None


def _unwrap_driver_error(error: BaseException) -> BaseException:
    """Return the error of the driver that an error of SQLAlchemy or of this package wraps.

    Returns the error itself if it does not wrap another one.
    """
    if isinstance(error, ServerUnusable):
        return error.__cause__ or error
    if not isinstance(error, DBAPIError) or error.orig is None:
        return error
    try:
        return error.driver_exception
    except ValueError:
        # SQLAlchemy's error for a prepared statement with a stale plan has no `driver_exception`.
        # The driver's error is its cause.
        return error.orig.__cause__ or error


def find_sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a database error, for example "40P01" for a deadlock.

    Returns an empty string if the error does not come from the database server.
    """
    return getattr(_unwrap_driver_error(error), "sqlstate", None) or ""


def _find_sqlstate_of_statement(error: BaseException) -> str:
    """Return the SQLSTATE with which a statement failed, or an empty string.

    `error` is either a database error, or a `ServiceError` whose cause is one.
    """
    database_error = _find_database_error(error)
    if isinstance(database_error, ServerUnusable):
        # No statement was executed. While connecting, the same codes have other meanings.
        return ""
    return find_sqlstate(database_error)


def _find_database_error(error: BaseException) -> BaseException:
    """Return the database error that caused a `ServiceError`, or another error itself."""
    if isinstance(error, errors.ServiceError) and error.__cause__ is not None:
        return error.__cause__
    return error


def is_connection_lost(error: BaseException) -> bool:
    """Return whether an error means that the connection on which it occurred is lost.

    The driver may not have noticed yet that the server has closed the connection, or that it no
    longer has the statements that the driver has prepared. `error` is either a database error, or a
    `ServiceError` whose cause is a database error.
    """
    error = _find_database_error(error)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    driver_error = _unwrap_driver_error(error)
    if isinstance(driver_error, ConnectionError | InternalClientError):
        return True
    return find_sqlstate(error) in _CONNECTION_LOST_SQLSTATES | _LOST_STATEMENT_SQLSTATES


def _is_encoding_error(driver_error: BaseException) -> bool:
    """Return whether the driver could not encode a parameter, for example the text "\\ud800".

    asyncpg's class for this error is private. It derives from both of these public classes.
    """
    return isinstance(driver_error, InterfaceError) and isinstance(driver_error, ValueError)
