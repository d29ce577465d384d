"""Translation of database errors into the service's errors: by SQLSTATE, never by message."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import errors

# SQLAlchemy does not wrap the errors of COPY, nor an OSError while the driver connects.
_DRIVER: Final = (InterfaceError, InternalClientError, PostgresError)
DATABASE_ERRORS: Final = (DBAPIError, PoolTimeout, *_DRIVER)
DATABASE_AND_OS_ERRORS: Final = (*DATABASE_ERRORS, OSError)

# https://www.postgresql.org/docs/current/errcodes-appendix.html, tried in this order.
_MEANINGS: Final[tuple[tuple[str, type[errors.ServiceError]], ...]] = (
    ("23(001|503|505|P01)", errors.ConstraintViolated),  # restrict, foreign key, unique, exclusion
    ("23(502|514)|22...|54...", errors.InvalidRequest),  # not null, check, data, limits exceeded
    ("40001|40P01", errors.Conflict),  # serialization failure, deadlock
    ("53...|57014|55P03|25P0[34]", errors.Overloaded),  # resources; statement and lock time-outs
    ("08...|57P0.|58...", errors.Unavailable),  # connection, shutting down, starting up, I/O
)
# Serialization failure, deadlock, and a plan that a migration has made stale.
_UNDONE: Final = {"40001", "40P01", "0A000"}
# The connection does not exist, failed, was terminated by an administrator, or the server crashed.
_ENDED: Final = {"08003", "08006", "57P01", "57P02"}
log = logging.getLogger(__name__)
_REFUSED: Final = errors.Fault(pointer="", code="refused", detail="The database refused a value")


@contextmanager
def translate_database_errors(
    failures: tuple[type[Exception], ...] = DATABASE_AND_OS_ERRORS,
) -> Iterator[None]:
    """Raise the service's error for an error of the database in the block."""
    try:
        yield
    except failures as error:
        raise translate_error(error) from error


def translate_error(error: Exception) -> Exception:
    """Return the service's error for it, or the error itself if it is a bug of ours."""
    service_error = _translate(error)
    if service_error is None:
        return error
    if isinstance(service_error, errors.Unavailable):
        log.warning("the database failed: %s", str(error) or repr(error))
    return service_error


def may_retry_statement(error: BaseException, *, read: bool) -> bool:
    """Return whether to repeat a statement: it was undone, or a read lost its connection."""
    return find_sqlstate(error) in _UNDONE or (read and is_connection_lost(error))


def may_retry_transaction(error: BaseException) -> bool:
    """Return whether the server undid a transaction because of others, so it may be repeated."""
    cause = error.__cause__ if isinstance(error, errors.ServiceError) else error
    return cause is not None and find_sqlstate(cause) in _UNDONE


def _translate(error: BaseException) -> errors.ServiceError | None:
    """Return None for a bug of ours: SQLSTATE class 42 and everything that is not listed."""
    driver_error = _driver(error)
    code = find_sqlstate(error)
    kind = _kind(code)
    if kind is errors.ConstraintViolated:
        return errors.ConstraintViolated(getattr(driver_error, "constraint_name", None) or "")
    if kind is errors.InvalidRequest or _unencodable(driver_error):
        return errors.InvalidRequest(_REFUSED)
    if kind is not None:
        return kind()
    if isinstance(error, PoolTimeout):
        return errors.Overloaded()
    if not code and (
        isinstance(driver_error, OSError | InterfaceError) or is_connection_lost(error)
    ):
        return errors.Unavailable()
    return None


def _kind(code: str) -> type[errors.ServiceError] | None:
    for pattern, kind in _MEANINGS:
        if re.fullmatch(pattern, code):
            return kind
    return None


def _driver(error: BaseException) -> BaseException:
    """Return the error of the driver that SQLAlchemy has wrapped."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return error
    try:
        return error.driver_exception
    except ValueError:
        # SQLAlchemy's own error for a stale plan has the driver's as its cause.
        return error.orig.__cause__ or error


def find_sqlstate(error: BaseException) -> str:
    """Return the code that the server gave the error, or an empty string if it gave none."""
    return getattr(_driver(error), "sqlstate", None) or ""


def is_connection_lost(error: BaseException) -> bool:
    """Whether the connection is closed, or will be as soon as the driver notices."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    driver_error = _driver(error)
    if isinstance(driver_error, ConnectionError | InternalClientError):
        return True
    return find_sqlstate(error) in _ENDED


def _unencodable(driver_error: BaseException) -> bool:
    """Whether the driver could not encode a parameter, for example a lone surrogate."""
    return isinstance(driver_error, InterfaceError) and isinstance(driver_error, ValueError)
