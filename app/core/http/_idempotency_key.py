"""The request header Idempotency-Key: its format and its documentation."""

import re
from typing import Final

from fastapi import Request

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError

IDEMPOTENCY_KEY_HEADER: Final = "Idempotency-Key"
MAX_KEY_LENGTH: Final = 255  # characters
IDEMPOTENCY_KEY_DESCRIPTION: Final = (
    f"1 to {MAX_KEY_LENGTH} visible ASCII characters, optionally in double quotes. For 24 hours, a"
    " retry with the same key returns the stored response with `Idempotency-Replayed: true`. While"
    " the first request is in progress, a retry waits, or gets 409 with `Retry-After`. Error"
    " responses to requests without a token are not stored, so that a retry is executed."
)
# A bare key (group 1), or a quoted string of RFC 9651 in which `\` escapes `\` and `"` (group 2).
# The groups are not named, because this pattern is also part of the OpenAPI document, and JSON
# Schema does not support the syntax of Python's named groups.
_KEY_PATTERN: Final = re.compile(
    rf'^(?:((?!")[\x21-\x7e]{{1,{MAX_KEY_LENGTH}}})|'
    rf'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\]){{1,{MAX_KEY_LENGTH}}})")$'
)
# Two quotes, and every character escaped.
_MAX_HEADER_LENGTH: Final = 2 * MAX_KEY_LENGTH + 2
IDEMPOTENCY_KEY_SCHEMA: Final = {
    "type": "string",
    "maxLength": _MAX_HEADER_LENGTH,
    "pattern": _KEY_PATTERN.pattern,
    "examples": ["0199b2f4-c0de-7000-a000-000000000000"],
}


def parse_idempotency_key(request: Request) -> str | None:
    r"""Return the Idempotency-Key of a request, or None if the request does not have this header.

    The key may be sent in quotes: the headers `abc` and `"abc"` both give the key `abc`, and the
    header `"a\"b"` gives the key `a"b`.

    Raises `InvalidRequest` if the key is malformed or the header is repeated.
    """
    header_lines = request.headers.getlist(IDEMPOTENCY_KEY_HEADER)
    if not header_lines:
        return None
    # A repeated header does not match, because joining the values inserts a space.
    match = _KEY_PATTERN.fullmatch(", ".join(header_lines))
    if match is None:
        detail = f"Must have 1 to {MAX_KEY_LENGTH} visible ASCII characters"
        raise InvalidRequest(
            FieldError(header=IDEMPOTENCY_KEY_HEADER, code="idempotency_key", detail=detail)
        )
    unquoted_key, quoted_key = match.groups()
    if unquoted_key is not None:
        return unquoted_key
    # Remove the backslash from each escaped character.
    return re.sub(r"\\(.)", r"\1", quoted_key)
