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
    """Return the cursor of the page that starts after a row.

    The cursor is valid only for the same list, with the same sort keys and filters.

    Args:
        sort_values: The row's values of the sort keys, for example `["Kindred", UUID(...)]`.
        context: A text that identifies the list, its sort keys and its filters.
    """
    payload = _to_json(sort_values).encode()
    return _to_base64(_cursor_digest(payload, context) + payload)


def decode_cursor(cursor: str, value_types: tuple[Any, ...], context: str) -> tuple[Any, ...]:
    """Return the `sort_values` that were passed to `encode_cursor`.

    Raises `InvalidRequest` if the client has changed the cursor, or sends it with another list,
    sort order or filter.

    Args:
        cursor: The cursor that the client sent.
        value_types: The Python types of the values, for example `(str, UUID)`.
        context: The `context` that was passed to `encode_cursor`.
    """
    try:
        # Cursors have no padding, but base64 is decoded in groups of four characters.
        padding = "=" * (-len(cursor) % 4)
        decoded = urlsafe_b64decode(cursor + padding)
        digest = decoded[:CURSOR_DIGEST_SIZE]
        payload = decoded[CURSOR_DIGEST_SIZE:]

        # Decoding ignores invalid characters, so a changed cursor may decode to the same bytes.
        is_canonical = _to_base64(decoded) == cursor
        if is_canonical and digest == _cursor_digest(payload, context):
            return _cursor_validator(value_types).validate_json(payload)
    except ValueError:
        # The cursor is not valid base64, or its values do not have the expected types.
        pass

    detail = "The cursor was changed, or belongs to another list, sort order or filter"
    raise InvalidRequest(FieldError(parameter="cursor", code="cursor_mismatch", detail=detail))


@lru_cache
def _cursor_validator(value_types: tuple[Any, ...]) -> TypeAdapter[tuple[Any, ...]]:
    """Return a validator of tuples with these types. It is cached because creating it is slow."""
    # The type checker does not accept a tuple type that is created at run time.
    tuple_type = tuple.__class_getitem__(value_types)
    return TypeAdapter(tuple_type)  # type: ignore[arg-type]


def _to_base64(decoded: bytes) -> str:
    """Encode bytes as base64 for URLs, without padding."""
    return urlsafe_b64encode(decoded).decode().rstrip("=")


def _cursor_digest(payload: bytes, context: str) -> bytes:
    """Return the digest at the start of a cursor, which detects a changed or misused cursor.

    The digest needs no secret key. A client that forges a cursor gains nothing, because the cursor
    only selects a position in a list that the client may read anyway.
    """
    return blake2b(payload + context.encode(), digest_size=CURSOR_DIGEST_SIZE).digest()
