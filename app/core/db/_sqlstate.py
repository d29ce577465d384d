"""What the database or its driver says, as one of our errors: by SQLSTATE, never by message."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asyncpg import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import errors

# Of what the driver does by itself its errors come unwrapped, and while it connects OSErrors too.
_DRIVER: Final = (InterfaceError, InternalClientError, PostgresError)
DATABASE_ERRORS: Final = (DBAPIError, PoolTimeout, *_DRIVER)
FAILURES: Final = (*DATABASE_ERRORS, OSError)

# https://www.postgresql.org/docs/current/errcodes-appendix.html, tried in this order.
_MEANINGS: Final[tuple[tuple[str, type[errors.ServiceError]], ...]] = (
    ("23(001|503|505|P01)", errors.ConstraintViolated),  # restrict, foreign key, unique, exclusion
    ("23(502|514)|22...|54...", errors.InvalidRequest),  # not null, check, data, limits exceeded
    ("40001|40P01", errors.Conflict),  # serialization failure, deadlock
    ("53...|57014|55P03|25P0[34]", errors.Overloaded),  # resources; statement and lock time-outs
    ("08...|57P0.|58...", errors.Unavailable),  # connection, shutting down, starting up, I/O
)
# Deadlock, serialization failure, and a plan that a migration has made stale.
_UNDONE: Final = {"40001", "40P01", "0A000"}
# The driver found it closed, an administrator ended it, the server crashed.
_ENDED: Final = {"08003", "08006", "57P01", "57P02"}
log = logging.getLogger(__name__)
_REFUSED: Final = errors.Fault(pointer="", code="refused", detail="The database refused a value")


@contextmanager
def translated(failures: tuple[type[Exception], ...] = FAILURES) -> Iterator[None]:
    """Raise what the client should see in place of what the database said."""
    try:
        yield
    except failures as error:
        raise meaning(error) from error


def meaning(error: Exception) -> Exception:
    """What the client should see of it; a mistake of ours means itself."""
    found = _translate(error)
    if isinstance(found, errors.Unavailable):
        log.warning("the database failed: %s", str(error) or repr(error))
    return found or error


def may_retry(error: BaseException, *, read: bool) -> bool:
    """Whether the server surely undid the statement, or a read found its connection dead."""
    return sqlstate(error) in _UNDONE or (read and lost(error))


def undone(error: BaseException) -> bool:
    """Whether the server surely undid the transaction, and only so that it may be tried again."""
    said = error.__cause__ if isinstance(error, errors.ServiceError) else error
    return said is not None and sqlstate(said) in _UNDONE


def _translate(error: BaseException) -> errors.ServiceError | None:
    """`None` for a mistake of ours: SQLSTATE class 42 and all that is not listed."""
    driver, code = _driver(error), sqlstate(error)
    kind = next((kind for pattern, kind in _MEANINGS if re.fullmatch(pattern, code)), None)
    if kind is errors.ConstraintViolated:
        return errors.ConstraintViolated(getattr(driver, "constraint_name", None) or "")
    if kind is errors.InvalidRequest or _unencodable(driver):
        return errors.InvalidRequest(_REFUSED)
    if isinstance(error, PoolTimeout):
        return errors.Overloaded()
    if not code and (isinstance(driver, OSError | InterfaceError) or lost(error)):
        return errors.Unavailable()
    return kind() if kind else None


def _driver(error: BaseException) -> BaseException:
    if not isinstance(error, DBAPIError) or error.orig is None:
        return error
    try:
        return error.driver_exception
    except ValueError:  # SQLAlchemy's own for a stale plan keeps the driver's as its cause
        return error.orig.__cause__ or error


def sqlstate(error: BaseException) -> str:
    """What the server called it; empty when it said nothing."""
    return getattr(_driver(error), "sqlstate", None) or ""


def lost(error: BaseException) -> bool:
    """Whether its connection is gone, or will be as soon as the driver has heard all."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    driver_error = _driver(error)
    if isinstance(driver_error, ConnectionError | InternalClientError):
        return True
    return sqlstate(error) in _ENDED


def _unencodable(driver: BaseException) -> bool:
    return isinstance(driver, InterfaceError) and isinstance(driver, ValueError)
