"""Log lines on standard error, each with the id of the request that it belongs to."""

import logging
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


class _OneLine(logging.Formatter):
    """What a client sent cannot start a second line, nor speak to the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        record.msg, record.args = record.getMessage().translate(_CONTROLS), ()
        return super().format(record)


def configure(level: str) -> None:
    """Send every logger's records to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s [%(request_id)s] %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # What they say of starting up the command line says; what a form lacks the answer says.
    for library in ("alembic", "apscheduler", "botocore", "python_multipart", "uvicorn"):
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.root.level))
