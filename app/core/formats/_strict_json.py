"""Strict JSON: UTF-8, no key twice in an object, no NaN or Infinity, no lone surrogate."""

import json
from typing import Any


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text. Raises `ValueError` for anything that is not strict JSON."""
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
        if "\\u" in text:
            # Only an escape can produce a lone surrogate, and encoding fails on one.
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has a key twice")
    return members


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
