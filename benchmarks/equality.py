"""Checks that all servers do the same work, by comparing their responses before a measurement."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from benchmarks import dataset
from benchmarks.contestants import PAGE_SIZE
from benchmarks.experiment import Experiment
from benchmarks.fleet import Entry
from benchmarks.operations import Operation
from benchmarks.results import SERVICE
from benchmarks.wire import encode_request

# The names that servers use for the rows of a page and for the total.
_ITEM_KEYS: Final = ("items", "data", "results")
_TOTAL_KEYS: Final = ("total", "count")
_BOOK_FIELDS: Final = frozenset({"id", "title", "author_id", "author", "created_at", "updated_at"})
_AUTHOR_FIELDS: Final = frozenset({"id", "name", "dob", "created_at", "updated_at"})
# The status of a response to a request without a token. Frameworks differ in it.
_REFUSALS: Final = (401, 403)
# The fields of a new or changed row that differ between servers.
_GENERATED_FIELDS: Final = frozenset({"id", "created_at", "updated_at"})


def check_responses(experiment: Experiment, operation: Operation) -> None:
    """Send one request to each server, and compare the responses with that of this service.

    Rows must have the same values in all fields, and lists of authors the same total. A deletion
    must succeed; the trials count the remaining rows. A server whose response differs is removed
    from the experiment.
    """
    expected = None
    for entry in list(experiment.entries):
        contestant, _ = entry
        with experiment.keeping_others(contestant):
            content = _request_content(experiment, operation, entry)
            if contestant.name == SERVICE:
                expected = content
            elif content != expected:
                raise RuntimeError(f"{operation.name}: {content} instead of {expected}")


def check_tokens(experiment: Experiment) -> None:
    """Check that servers refuse requests without a token, if the form requires one.

    A server that responds otherwise is removed from the experiment.
    """
    if not experiment.form.is_production:
        return
    request = encode_request(f"GET /books/{experiment.data.book_ids[0]}")
    for contestant, server in list(experiment.entries):
        with experiment.keeping_others(contestant):
            status, _ = server.send(request)
            if status not in _REFUSALS:
                raise RuntimeError(f"{status} for a request without a token")


def _request_content(experiment: Experiment, operation: Operation, entry: Entry) -> Any:
    """Send one request to a server, and return the part of the response that must be equal."""
    if operation.writes:
        asyncio.run(dataset.restore_authors(experiment.url, operation.spare_authors))
    _, server = entry
    request = experiment.requests(operation, entry)[-1]
    status, body = server.send(request)
    if not 200 <= status < 300:
        raise RuntimeError(f"{operation.name}: {status} {body}")
    is_deletion = operation.authors_added < 0
    return None if is_deletion else _comparable(body, operation)


def _comparable(body: Mapping[str, Any], operation: Operation) -> Any:
    """Return the part of a response that must be equal: a row, or the rows and total of a page."""
    items = _first_value(body, _ITEM_KEYS)
    if items is None:
        return _comparable_row(body, _GENERATED_FIELDS if operation.writes else frozenset())
    if len(items) != PAGE_SIZE:
        raise RuntimeError(f"{operation.name}: {len(items)} rows")
    total = None
    if operation.name == "list_authors":
        total = _first_value(body, _TOTAL_KEYS)
    return [_comparable_row(item) for item in items], total


def _first_value(body: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return the value of the first key that a JSON object has, or None."""
    for key in keys:
        if key in body:
            return body[key]
    return None


def _comparable_row(
    row: Mapping[str, Any], ignored_fields: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the fields of a book or an author that must be equal."""
    fields = _BOOK_FIELDS if "title" in row else _AUTHOR_FIELDS
    return {field: _comparable_value(row[field]) for field in fields - ignored_fields}


def _comparable_value(value: Any) -> Any:
    """Parse a time, because servers format times differently. Reduce an author to three fields."""
    if isinstance(value, dict):
        return {field: _comparable_value(value[field]) for field in ("id", "name", "dob")}
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
