"""The scope of a token as text: `read`, `write`, or `read write` (RFC 6749, section 3.3)."""

from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.schemas import string_of_length
from app.core.token_scopes import ALL_TOKEN_SCOPES, TokenScope

MAX_SCOPE_LENGTH: Final = 1000  # characters
FULL_SCOPE: Final = " ".join(TokenScope)
_SCOPE_PATTERN: Final = "^((read|write)( (read|write))*)?$"
# A text that is not one of these grants nothing.
_SCOPES_BY_TEXT: Final = {
    FULL_SCOPE: ALL_TOKEN_SCOPES,
    **{str(scope): frozenset({scope}) for scope in TokenScope},
}


def parse_stored_scope(text: str) -> frozenset[TokenScope]:
    """Return the scopes that the text in the database grants. An unknown text grants none."""
    return _SCOPES_BY_TEXT.get(text, frozenset())


def _normalize_requested_scope(text: str) -> str:
    """Convert the scope that a client requests to the form in which it is stored.

    For example, `write read` becomes `read write`, and so does the empty text. Raises a validation
    error for an unknown scope, and for other separators than one space.
    """
    if not text:
        return FULL_SCOPE
    requested_scopes = set(text.split(" "))
    if not requested_scopes <= ALL_TOKEN_SCOPES:
        raise PydanticCustomError("invalid_scope", "Must be read, write, or both with a space")
    return " ".join(scope for scope in TokenScope if scope in requested_scopes)


RequestedScope = Annotated[
    str,
    string_of_length(0, MAX_SCOPE_LENGTH),
    AfterValidator(_normalize_requested_scope),
    WithJsonSchema({"type": "string", "maxLength": MAX_SCOPE_LENGTH, "pattern": _SCOPE_PATTERN}),
]
