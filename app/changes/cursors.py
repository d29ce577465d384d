"""Cursors of the change feed: encrypted positions.

A position contains numbers that count the transactions of all users. A reader must not learn from
them how much others write, so they are encrypted with the epoch of the feed, a secret UUID in the
database. The cipher is a keyed BLAKE2b hash of a random nonce, and another one authenticates it.
"""

import secrets
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Final
from uuid import UUID

from app.core.cursors import decode_cursor, encode_cursor

# Makes a cursor of a list invalid here, and the other way round.
_CONTEXT: Final = "changes"
# The transaction, the sequence and the fingerprint of the reader's visibility.
_PAYLOAD: Final = Struct(">QQQ")
_NONCE_SIZE: Final = 12  # bytes
_TAG_SIZE: Final = 12  # bytes
_TAG_START: Final = _NONCE_SIZE + _PAYLOAD.size


@dataclass(frozen=True, order=True)
class Position:
    """A place in the feed. The reader has seen all changes up to it, including those at it."""

    xid: int
    sequence: int = 0


# Every change comes after this position.
START: Final = Position(0)


@dataclass(frozen=True)
class SealedCursor:
    """A cursor that was not changed since the service created it, and is not yet decrypted."""

    content: bytes

    @classmethod
    def parse(cls, cursor: str) -> "SealedCursor":
        """Parse a cursor. Raises `InvalidRequest` if it is not one of the feed."""
        [content] = decode_cursor(cursor, (str,), _CONTEXT)
        return cls(bytes.fromhex(content))

    def open(self, epoch: UUID, visibility: int) -> Position | None:
        """Return the position, or None if the cursor is of another epoch or for other readers.

        `visibility` is the fingerprint of what the reader may see.
        """
        nonce = self.content[:_NONCE_SIZE]
        payload = self.content[_NONCE_SIZE:_TAG_START]
        tag = self.content[_TAG_START:]
        if not secrets.compare_digest(tag, _authenticate(epoch, nonce + payload)):
            return None
        xid, sequence, sealed_visibility = _PAYLOAD.unpack(_encrypt(epoch, nonce, payload))
        if sealed_visibility != visibility:
            return None
        return Position(xid, sequence)


def seal(position: Position, epoch: UUID, visibility: int) -> str:
    """Return the cursor of a position. See `SealedCursor.open` for the arguments."""
    nonce = secrets.token_bytes(_NONCE_SIZE)
    payload = _PAYLOAD.pack(position.xid, position.sequence, visibility)
    content = nonce + _encrypt(epoch, nonce, payload)
    content += _authenticate(epoch, content)
    return encode_cursor([content.hex()], _CONTEXT)


def _encrypt(epoch: UUID, nonce: bytes, payload: bytes) -> bytes:
    """Encrypt or decrypt a payload: add the bits of a hash of the nonce to its bits."""
    key_stream = blake2b(nonce, digest_size=_PAYLOAD.size, key=epoch.bytes, person=b"encrypt")
    return bytes(a ^ b for a, b in zip(payload, key_stream.digest(), strict=True))


def _authenticate(epoch: UUID, content: bytes) -> bytes:
    """Return the tag that only someone who knows the epoch can compute."""
    tag = blake2b(content, digest_size=_TAG_SIZE, key=epoch.bytes, person=b"authenticate")
    return tag.digest()
