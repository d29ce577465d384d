"""The format of tokens: a scanner can recognise a leaked one, and nobody can guess one."""

import re
from hashlib import sha256
from secrets import token_hex
from typing import Final
from zlib import crc32

from app import NAME

TOKEN_PREFIX: Final = f"{NAME}_"
TOKEN_PATTERN: Final = re.compile(rf"{TOKEN_PREFIX}[0-9a-f]{{72}}")


def generate_token() -> str:
    """Return a new token: the prefix, 256 random bits and a checksum. It needs no escaping."""
    secret = token_hex(32)
    return f"{TOKEN_PREFIX}{secret}{_checksum(secret)}"


def token_digest(token: str) -> bytes | None:
    """Return the SHA-256 of a token, which the database stores, or `None` for any other text.

    So many random bits need no salt and no slow hash. The time that finding a digest takes
    reveals nothing about a token.
    """
    secret, checksum = token[len(TOKEN_PREFIX) : -8], token[-8:]
    if not TOKEN_PATTERN.fullmatch(token) or checksum != _checksum(secret):
        return None
    return sha256(token.encode()).digest()


def _checksum(secret: str) -> str:
    return f"{crc32(secret.encode()):08x}"
