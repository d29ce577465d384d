"""What the database or its driver says, as one of our errors. By SQLSTATE, never by message."""

import re
from typing import Final

from asyncpg import InterfaceError as DriverInterfaceError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.errors import (
    Conflict,
    ConstraintViolated,
    Invalid,
    InvalidRequest,
    Overloaded,
    ServiceError,
    Unavailable,
)

# asyncpg raises these unwrapped while it connects (TimeoutError and ConnectionError are OSErrors).
FAILURES: Final = (DBAPIError, PoolTimeout, OSError, DriverInterfaceError)

_REFUSED_VALUE: Final = InvalidRequest(
    errors=[Invalid(pointer="", code="refused_by_database", detail="A value is out of range")]
)

# Matched in this order against the five characters of https://www.postgresql.org/docs/current/errcodes-appendix.html
_MEANINGS: Final[tuple[tuple[str, type[ServiceError]], ...]] = (
    ("23(505|503|P01|001)", ConstraintViolated),  # unique, foreign key, exclusion, restrict
    ("23(502|514)|22...", InvalidRequest),  # not null, check; every data exception
    ("40001|40P01", Conflict),  # serialization failure, deadlock
    ("53...|57014|55P03|25P0[34]", Overloaded),  # resources, statement, lock and other time-outs
    ("08...|57P0.|58...", Unavailable),  # connection, shutdown, starting up, I/O
)
_RETRIED: Final = frozenset({"40001", "40P01"})


def sqlstate(error: BaseException) -> str:
    """The five characters, or an empty string where the error did not come from the server."""
    driver = error.driver_exception if isinstance(error, DBAPIError) else error
    return getattr(driver, "sqlstate", None) or ""


def translate(error: BaseException) -> ServiceError | None:
    """The error for the client; `None` for a mistake of ours (SQLSTATE class 42 and the like)."""
    code = sqlstate(error)
    for pattern, kind in _MEANINGS:
        if re.fullmatch(pattern, code):
            return _make(kind, error)
    if code:
        return None
    return _without_sqlstate(error)


def _make(kind: type[ServiceError], error: BaseException) -> ServiceError:
    if kind is ConstraintViolated:
        driver = error.driver_exception if isinstance(error, DBAPIError) else error
        return ConstraintViolated(getattr(driver, "constraint_name", None))
    if kind is InvalidRequest:
        return InvalidRequest(errors=_REFUSED_VALUE.errors)
    return kind()


def _without_sqlstate(error: BaseException) -> ServiceError | None:
    """Errors made on our side of the wire: the pool's, the socket's and the driver's own."""
    driver = error.driver_exception if isinstance(error, DBAPIError) else error
    if isinstance(error, PoolTimeout):
        return Overloaded()
    if isinstance(driver, DriverInterfaceError) and isinstance(driver, ValueError):
        return InvalidRequest(errors=_REFUSED_VALUE.errors)  # asyncpg could not encode a value
    if isinstance(driver, OSError | DriverInterfaceError) or _lost(error):
        return Unavailable()
    return None


def may_retry(error: BaseException, *, read: bool) -> bool:
    """Whether the statement surely left nothing behind, or was a read whose connection died."""
    return sqlstate(error) in _RETRIED or (read and _lost(error))


def _lost(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated
