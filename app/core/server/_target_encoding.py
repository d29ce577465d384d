"""The encoding of the path and the query of a request: percent-encoded UTF-8 (RFC 3986)."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from app.core.errors import MalformedRequest

# A percent sign has to be followed by two hexadecimal digits.
_MALFORMED_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def find_encoding_error(scope: Scope) -> MalformedRequest | None:
    """Return the error for a path or query that is not percent-encoded UTF-8, otherwise None.

    The server decodes the path and Starlette the query. Both replace wrong bytes by U+FFFD, so that
    a request for `?q=caf%E9` would search for another word.
    """
    # Most requests have no escapes. The HTTP parser has already refused bytes that are not ASCII.
    raw_path = scope.get("raw_path") or b""
    if b"%" in raw_path and not _is_percent_encoded_utf8(raw_path):
        return _create_error("path")
    query = scope["query_string"]
    if b"%" in query and not _is_percent_encoded_utf8(query):
        return _create_error("query")
    return None


def _is_percent_encoded_utf8(encoded_text: bytes) -> bool:
    """Return whether a text has only valid escapes, which decode to UTF-8.

    It is true for `b"caf%C3%A9"`, and false for `b"caf%E9"` (Latin-1) and `b"100%"`.
    """
    if _MALFORMED_ESCAPE.search(encoded_text):
        return False
    try:
        unquote_to_bytes(encoded_text).decode()
    except UnicodeDecodeError:
        return False
    return True


def _create_error(component: str) -> MalformedRequest:
    """Create the error for a wrong component of the URL, which is the path or the query."""
    return MalformedRequest(
        f"The {component} of the URL must be percent-encoded UTF-8, with é as %C3%A9 and % as %25"
    )
