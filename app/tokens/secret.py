"""The format of access tokens.

Example: `bookshelf_` followed by 64 hexadecimal digits of random bits and 8 digits of a
checksum.

The prefix and the checksum let a secret scanner recognize a token that was leaked. The random bits
cannot be guessed.
"""

import re
from hashlib import sha256
from secrets import token_hex
from typing import Final
from zlib import crc32

from app import NAME

RANDOM_BYTES: Final = 32
CHECKSUM_LENGTH: Final = 8  # hexadecimal digits
TOKEN_PREFIX: Final = f"{NAME}_"
TOKEN_PATTERN: Final = re.compile(
    rf"{TOKEN_PREFIX}[0-9a-f]{{{2 * RANDOM_BYTES + CHECKSUM_LENGTH}}}"
)


def generate_token() -> str:
    """Return a new token: the prefix, 256 random bits and a checksum, in hexadecimal."""
    secret = token_hex(RANDOM_BYTES)
    return f"{TOKEN_PREFIX}{secret}{_compute_checksum(secret)}"


def compute_token_digest(token: str) -> bytes | None:
    """Compute the SHA-256 digest of an access token. The database stores it instead of the token.

    Returns None if the text is not a token, because its format or its checksum is wrong.

    A token contains 256 random bits, so nobody can guess it, and a fast hash without a salt is
    secure. It is also safe to look up the digest in an index: the time that this takes reveals
    nothing about the token.
    """
    if not TOKEN_PATTERN.fullmatch(token):
        return None
    secret = token[len(TOKEN_PREFIX) : -CHECKSUM_LENGTH]
    checksum = token[-CHECKSUM_LENGTH:]
    if checksum != _compute_checksum(secret):
        return None
    return sha256(token.encode()).digest()


def _compute_checksum(secret: str) -> str:
    """Return the CRC-32 of the random part of a token, for example `9ae0daaf`."""
    return f"{crc32(secret.encode()):08x}"
