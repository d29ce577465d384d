"""Cursors: opaque texts that say after which row the next page of a list starts.

A cursor is base64 without padding. It contains a digest, which makes it valid only for one list,
and the values of the last row in the sort keys as JSON, for example `["Kindred","0197c2a4-..."]`.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from pydantic import TypeAdapter

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError

CURSOR_DIGEST_SIZE: Final = 12  # bytes
# `json.dumps` would create an encoder for each page.
_to_json: Final = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":")).encode


def encode_cursor(sort_values: list[Any], context: str) -> str:
    """Return the cursor of the page after a row, which is valid only in this context.

    Args:
        sort_values: The values of the row in the sort keys, for example `["Kindred", UUID(...)]`.
        context: The list, its sort keys and its filters as text.
    """
    payload = _to_json(sort_values).encode()
    return _to_base64(_cursor_digest(payload, context) + payload)


def decode_cursor(cursor: str, value_types: tuple[Any, ...], context: str) -> tuple[Any, ...]:
    """Return the values of the sort keys that `encode_cursor` has encoded.

    `value_types` are the Python types of the values. Raises `InvalidRequest` if the cursor was
    changed, or belongs to another context.
    """
    try:
        padding = "=" * (-len(cursor) % 4)
        decoded = urlsafe_b64decode(cursor + padding)
        digest = decoded[:CURSOR_DIGEST_SIZE]
        payload = decoded[CURSOR_DIGEST_SIZE:]
        # Another cursor may decode to the same bytes, because base64 ignores some characters.
        is_canonical = _to_base64(decoded) == cursor
        if is_canonical and digest == _cursor_digest(payload, context):
            return _cursor_validator(value_types).validate_json(payload)
    except ValueError:
        pass
    detail = "The cursor was changed, or belongs to another list, sort order or filter"
    raise InvalidRequest(FieldError(parameter="cursor", code="cursor_mismatch", detail=detail))


@lru_cache
def _cursor_validator(value_types: tuple[Any, ...]) -> TypeAdapter[tuple[Any, ...]]:
    """Return the validator of a tuple with these types. Creating it takes long, so it is kept."""
    return TypeAdapter(tuple.__class_getitem__(value_types))  # type: ignore[arg-type]


def _to_base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _cursor_digest(payload: bytes, context: str) -> bytes:
    """Return the digest with which a cursor starts.

    It detects mistakes of clients, not attacks. It needs no secret key, because a cursor gives
    access to nothing.
    """
    return blake2b(payload + context.encode(), digest_size=CURSOR_DIGEST_SIZE).digest()
