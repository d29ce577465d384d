"""Cursors of the change feed: encrypted positions.

A position contains numbers that count the transactions of all users. A reader must not learn from
them how much others write, so a cursor hides them, and looks different each time. The cipher is a
keyed BLAKE2b hash of a random nonce. Another hash authenticates the cursor.
"""

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Final

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError

# The transaction and the sequence.
_PAYLOAD: Final = Struct(">QQ")
# The sizes in bytes. Together with the payload, they fill 56 characters of base64.
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 14
_CURSOR_SIZE: Final = _NONCE_SIZE + _PAYLOAD.size + _TAG_SIZE


@dataclass(frozen=True, order=True)
class Position:
    """A place in the feed. The reader has seen all changes up to it, including those at it."""

    xid: int
    sequence: int = 0


def seal_cursor(position: Position, key: bytes) -> str:
    """Return the cursor of a position, which can be opened only with the same key."""
    nonce = secrets.token_bytes(_NONCE_SIZE)
    payload = _PAYLOAD.pack(position.xid, position.sequence)
    content = nonce + _encrypt(key, nonce, payload)
    return urlsafe_b64encode(content + _authenticate(key, content)).decode()


def open_cursor(cursor: str, key: bytes) -> Position | None:
    """Return the position of a cursor, or None if it was sealed with another key, or changed.

    Raises `InvalidRequest` if the text cannot be a cursor of the feed.
    """
    try:
        decoded = urlsafe_b64decode(cursor)
    except ValueError:
        decoded = b""
    if len(decoded) != _CURSOR_SIZE:
        detail = "The cursor was changed, or is not one of the change feed"
        raise InvalidRequest(FieldError(parameter="after", code="cursor_mismatch", detail=detail))
    content = decoded[:-_TAG_SIZE]
    tag = decoded[-_TAG_SIZE:]
    if not secrets.compare_digest(tag, _authenticate(key, content)):
        return None
    nonce = content[:_NONCE_SIZE]
    payload = content[_NONCE_SIZE:]
    return Position(*_PAYLOAD.unpack(_encrypt(key, nonce, payload)))


def _encrypt(key: bytes, nonce: bytes, payload: bytes) -> bytes:
    """Encrypt or decrypt a payload: add the bits of a hash of the nonce to its bits."""
    key_stream = blake2b(nonce, digest_size=_PAYLOAD.size, key=key, person=b"encrypt")
    return bytes(a ^ b for a, b in zip(payload, key_stream.digest(), strict=True))


def _authenticate(key: bytes, content: bytes) -> bytes:
    """Return the tag that only someone who knows the key can compute."""
    return blake2b(content, digest_size=_TAG_SIZE, key=key, person=b"authenticate").digest()
