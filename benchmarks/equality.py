"""Whether all do the same work: their answers, compared before anything is measured."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from benchmarks import dataset
from benchmarks.contestants import PAGE_SIZE
from benchmarks.operations import Operation
from benchmarks.trials import Experiment

# What each names its own way.
_ITEMS: Final = ("items", "data", "results")
_TOTALS: Final = ("total", "count")
_NEW: Final = frozenset({"id", "created_at", "updated_at"})  # of a row that each has written
_BOOK: Final = frozenset({"id", "title", "author_id", "author", "created_at", "updated_at"})
_AUTHOR: Final = frozenset({"id", "name", "dob", "created_at", "updated_at"})


def check_responses(experiment: Experiment, operation: Operation) -> None:
    """Raise unless each answers what we do: every field of a row, and the total where we have one.

    Of a deletion only that it is no error: the trials themselves count the rows.
    """
    answers = {}
    for who, server in experiment.servers:
        if operation.writes:
            asyncio.run(dataset.restore_authors(experiment.url, operation.spares))
        request = operation.requests(who, server, experiment.data)[-1]
        status, answer = server.ask(request)
        if not 200 <= status < 300:
            raise RuntimeError(f"{who.name}, {operation.name}: {status} {answer}")
        answers[who.name] = None if operation.adds < 0 else _comparable(answer, operation)
    ours, *_ = answers.values()
    for name, theirs in answers.items():
        if theirs != ours:
            raise RuntimeError(f"{operation.name}: {name} answers {theirs}, not {ours}")


def _comparable(answer: Mapping[str, Any], operation: Operation) -> Any:
    items = next((answer[name] for name in _ITEMS if name in answer), None)
    if items is None:
        return _row(answer, _NEW if operation.writes else frozenset())
    if len(items) != PAGE_SIZE:
        raise RuntimeError(f"{operation.name}: {len(items)} rows")
    total = next((answer[name] for name in _TOTALS if name in answer), None)
    return [_row(item) for item in items], total if operation.name == "list_authors" else None


def _row(row: Mapping[str, Any], without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """All fields of a book or an author, instants as instants."""
    names = (_BOOK if "title" in row else _AUTHOR) - without
    return {name: _value(row[name]) for name in names}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _value(value[name]) for name in ("id", "name", "dob")}
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
