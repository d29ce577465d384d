"""Records the connections, statements and errors of an engine in the metrics."""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect, ExceptionContext

from app.core.db._server_errors import ConnectingFailed
from app.core.db._sqlstate import find_sqlstate
from app.core.db._statement_names import find_statement_name
from app.core.observability import ConnectionMetrics, export_pool_metrics, time_statements


def measure_engine(engine: Engine, database_name: str) -> None:
    """Record what an engine does. `database_name` is a label of the metrics.

    Call this after all other functions that listen to events of the engine, because it opens the
    connections, and because it counts the connections that another listener declares as lost.
    """
    time_statements(engine, find_statement_name)
    export_pool_metrics(database_name, engine)
    _measure_connections(engine, ConnectionMetrics(database_name))


def _measure_connections(engine: Engine, metrics: ConnectionMetrics) -> None:
    """Record the connections of an engine, and the errors that occur on them."""

    def open_connection(dialect: Dialect, _record: object, arguments: Any, options: Any) -> Any:
        """Open a connection in place of SQLAlchemy, and count it or the failure."""
        try:
            connection = dialect.connect(*arguments, **options)
        except ConnectingFailed as error:
            metrics.record_failed_opening(find_sqlstate(error.__cause__ or error))
            raise
        metrics.record_opening()
        return connection

    def record_error(error_context: ExceptionContext) -> None:
        """Count an error of a statement, and the connection if it is lost."""
        error = error_context.sqlalchemy_exception
        if error is None or error_context.connection is None:
            # The error does not come from the driver, or was counted in `open_connection`.
            return
        metrics.record_error(find_sqlstate(error))
        if error_context.is_disconnect:
            metrics.record_loss()

    def record_closed_connection(*_: object) -> None:
        """Count a connection that was found closed when it was checked out of the pool."""
        metrics.record_loss()

    event.listen(engine, "do_connect", open_connection)
    event.listen(engine, "handle_error", record_error)
    event.listen(engine, "soft_invalidate", record_closed_connection)
