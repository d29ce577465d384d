"""What a request's SQL statements took."""

from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext


@dataclass(slots=True)
class Spent:
    """What a request has spent on statements so far; one that failed counts too."""

    statements: int = 0
    seconds: float = 0.0

    def server_timing(self, total: float) -> str:
        """The header, of what the database took and of the seconds in all."""
        database = f'db;dur={self.seconds * 1000:.1f};desc="{self.statements}"'
        return f"{database}, total;dur={total * 1000:.1f}"


spending: ContextVar[Spent | None] = ContextVar("spending", default=None)


def observe(engine: Engine) -> None:
    """Count and time each statement for the request that runs it."""
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _fail)


def _begin(_c: object, _cursor: object, _s: str, _p: object, context: Any, *_: object) -> None:
    context.began = perf_counter()


def _end(_c: object, _cursor: object, _s: str, _p: object, context: Any, *_: object) -> None:
    began = context.__dict__.pop("began", None)
    if began is not None and (spent := spending.get()) is not None:
        spent.statements += 1
        spent.seconds += perf_counter() - began


def _fail(failure: ExceptionContext) -> None:
    if failure.execution_context is not None:
        _end(None, None, "", None, failure.execution_context)
