"""The process that serves the metrics of a server with several processes.

The supervisor of the server must not have a thread, because it forks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from app.cli.child_processes import get_process_context, start_process
from app.core.observability import serve_shared_metrics, share_metrics


@contextmanager
def run_metrics_process(host: str, port: int) -> Iterator[None]:
    """Serve the sums of the metrics of all processes that are started inside the block.

    Raises `OSError` if the port is in use.
    """
    context = get_process_context()
    with share_metrics() as directory:
        connection, connection_of_process = context.Pipe()
        # A forked process has all files of this one. It must not keep this end of the pipe open.
        inherited = [connection] if context.get_start_method() == "fork" else []
        process = start_process(
            context, _serve, host, port, directory, connection_of_process, inherited
        )
        connection_of_process.close()
        try:
            error = connection.recv()
            if error is not None:
                raise error
            yield
        finally:
            connection.close()
            process.join()


def _serve(
    host: str, port: int, directory: Path, connection: Connection, inherited: list[Connection]
) -> None:
    """Serve metrics until the supervisor closes its end of the connection, or has died.

    Sends None when clients can connect, or otherwise the error.
    """
    for inherited_connection in inherited:
        inherited_connection.close()
    try:
        with serve_shared_metrics(host, port, directory):
            connection.send(None)
            connection.poll(None)
    except OSError as error:
        connection.send(error)
