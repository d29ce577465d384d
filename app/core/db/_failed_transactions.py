"""COMMIT of a transaction in which a statement has failed.

Postgres does not refuse it. It rolls back and responds with `ROLLBACK` instead of `COMMIT`, which
neither the driver nor SQLAlchemy looks at. An endpoint that catches the error of a statement and
goes on would then respond with a success although nothing was stored.
"""

from typing import Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

# A key of `Connection.info`: the transaction, or the savepoint, in which a statement has failed.
_FAILED: Final = "app.failed_transaction"


class FailedTransaction(RuntimeError):
    """Raised instead of COMMIT if a statement failed outside of a savepoint."""

    def __init__(self) -> None:
        super().__init__("a statement of the transaction has failed: it cannot be committed")


def forbid_commit_after_failure(engine: Engine) -> None:
    """Make COMMIT raise `FailedTransaction` after a statement has failed."""
    event.listen(engine, "handle_error", _note_failed_statement)
    event.listen(engine, "commit", _require_no_failure)


def mark_transaction_failed(connection: Connection) -> None:
    """Note that a statement has failed in the innermost transaction of a connection.

    A failed statement in a savepoint does not concern the transaction around it, because the
    savepoint is either rolled back or cannot be released.
    """
    transaction = connection.get_nested_transaction() or connection.get_transaction()
    connection.info[_FAILED] = transaction


def _note_failed_statement(context: ExceptionContext) -> None:
    if context.connection is not None and not context.connection.invalidated:
        mark_transaction_failed(context.connection)


def _require_no_failure(connection: Connection) -> None:
    failed = connection.info.pop(_FAILED, None)
    if failed is not None and failed is connection.get_transaction():
        raise FailedTransaction
