"""Strict JSON: UTF-8 without duplicate keys, NaN, Infinity or lone surrogates."""

import json
from typing import Any


def parse_json(body: bytes) -> Any:
    """Parse a request body or a line of a file as strict JSON.

    Raises `ValueError` for invalid JSON, and for four things that Python would accept: bytes in
    UTF-16 or UTF-32, the repeated key in `{"a": 1, "a": 2}`, constants such as `NaN`, and half of a
    surrogate pair such as `"\\ud800"`.
    """
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_build_object, parse_constant=_reject_constant)
        # An escape may stand for half of a surrogate pair. Encoding that raises `ValueError`.
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
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
