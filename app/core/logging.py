"""Log lines on standard error, each with the id of the request that it belongs to."""

import logging
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class _Formatter(logging.Formatter):
    """One line per record: what a client sent cannot start a second one."""

    def format(self, record: logging.LogRecord) -> str:
        record.request_id = request_id.get()
        record.msg, record.args = _escaped(record.getMessage()), ()
        return super().format(record)


def _escaped(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def configure(level: str) -> None:
    """Send every logger's records, uvicorn's too, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Formatter("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in ("alembic", "uvicorn"):  # what they say of starting up, the command line says
        logging.getLogger(library).setLevel(max(logging.WARNING, logging.root.level))
