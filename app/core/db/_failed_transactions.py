"""Raises an error instead of COMMIT in a transaction in which a statement has failed.

Postgres does not refuse such a COMMIT. It rolls back and responds with `ROLLBACK` instead of
`COMMIT`, which neither the driver nor SQLAlchemy checks. An endpoint that catches the error of a
statement and continues would then report success although nothing was stored.
"""

from typing import Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

# The key in `Connection.info` of the transaction or savepoint in which a statement has failed.
_FAILED_TRANSACTION_KEY: Final = "app.failed_transaction"


class FailedTransaction(RuntimeError):
    """Raised instead of COMMIT if a statement failed outside of a savepoint."""

    def __init__(self) -> None:
        super().__init__("the transaction cannot be committed because one of its statements failed")


def forbid_commit_after_failure(engine: Engine) -> None:
    """Make COMMIT raise `FailedTransaction` if a statement of the transaction has failed."""
    event.listen(engine, "handle_error", _record_failure)
    event.listen(engine, "commit", _raise_if_failed)


def _record_failure(error_context: ExceptionContext) -> None:
    """Record that a statement failed in the current savepoint or transaction.

    SQLAlchemy calls this before it raises the statement's error.

    A transaction in which a statement failed raises `FailedTransaction` instead of its COMMIT. A
    failure inside a savepoint does not prevent the COMMIT, because the caller rolls back to the
    savepoint, which undoes the failure.
    """
    connection = error_context.connection
    if connection is None or connection.invalidated:
        return
    savepoint = connection.get_nested_transaction()
    connection.info[_FAILED_TRANSACTION_KEY] = savepoint or connection.get_transaction()


def _raise_if_failed(connection: Connection) -> None:
    """Raise `FailedTransaction` if the transaction to be committed has a failed statement.

    SQLAlchemy calls this before it sends COMMIT.
    """
    failed_transaction = connection.info.pop(_FAILED_TRANSACTION_KEY, None)
    if failed_transaction is None:
        return
    if failed_transaction is connection.get_transaction():
        raise FailedTransaction
