"""JSON in the strict sense: UTF-8, no key twice in an object, no NaN, no lone surrogate."""

import json
from typing import Any


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises `ValueError` for all that is none in the strict sense."""
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # fails on a lone surrogate
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
