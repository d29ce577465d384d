"""Strict JSON: UTF-8 without duplicate keys, NaN, Infinity, lone surrogates or deep nesting."""

import json
from collections.abc import Iterable
from typing import Any, Final

# The number of levels of arrays and objects. In `{"a": [1]}`, there are two. Code that processes
# parsed JSON may be recursive, because Python's limit is about 1,000 nested calls.
MAX_JSON_DEPTH: Final = 64


class JsonNestedTooDeeply(ValueError):
    """JSON has more than `MAX_JSON_DEPTH` levels of arrays and objects."""


def parse_json(body: bytes) -> Any:
    """Parse a request body as strict JSON.

    Raises `JsonNestedTooDeeply` if it has too many levels. Raises `ValueError` for invalid JSON,
    and for four things that Python would accept: bytes in UTF-16 or UTF-32, the repeated key in
    `{"a": 1, "a": 2}`, constants such as `NaN`, and half of a surrogate pair such as `"\\ud800"`.
    """
    return parse_json_text(body.decode())


def parse_json_text(text: str) -> Any:
    """Parse a text as strict JSON. Raises the errors that `parse_json` describes."""
    try:
        value = json.loads(text, object_pairs_hook=_build_object, parse_constant=_reject_constant)
    except RecursionError:
        raise JsonNestedTooDeeply from None

    # JSON with few opening brackets cannot be nested deeply, so most bodies are not searched.
    opening_brackets = text.count("[") + text.count("{")
    if opening_brackets > MAX_JSON_DEPTH:
        _check_depth(value)
    # An escape may stand for half of a surrogate pair. Encoding that raises `ValueError`.
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _build_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object as a dict. Raises `ValueError` if a key is repeated."""
    json_object = dict(members)
    if len(json_object) < len(members):
        raise ValueError("a JSON object repeats a key")
    return json_object


def _reject_constant(constant: str) -> Any:
    """Raise an error for `NaN` and `Infinity`, which Python accepts although JSON does not."""
    raise ValueError(f"{constant} is not valid JSON")


def _check_depth(value: Any) -> None:
    """Raise `JsonNestedTooDeeply` if a value has more than `MAX_JSON_DEPTH` levels."""
    # Search level by level instead of recursively, so that deep values do not exhaust the stack.
    containers = [value]
    for _ in range(MAX_JSON_DEPTH):
        containers = [
            child
            for container in containers
            for child in _get_children(container)
            if isinstance(child, dict | list)
        ]
        if not containers:
            return
    raise JsonNestedTooDeeply


def _get_children(value: Any) -> Iterable[Any]:
    """Return the items of an array or the values of an object. Other values have no children."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()
