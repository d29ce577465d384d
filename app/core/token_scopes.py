"""Scopes of access tokens (RFC 6749, section 3.3), which a client chooses at the login."""

from enum import StrEnum
from typing import Final

from app.core.errors import Forbidden


class TokenScope(StrEnum):
    """The kind of requests that a token is for, within the permissions of its user.

    No scope includes the other. A token for `write` alone can create a document, for example, and
    read it in the response, but cannot read other documents.
    """

    READ = "read"
    WRITE = "write"


# These texts are in the OpenAPI document.
TOKEN_SCOPE_DESCRIPTIONS: Final = {
    TokenScope.READ: "Read: requests with GET and HEAD",
    TokenScope.WRITE: "Create, change and delete: all other requests",
}
ALL_TOKEN_SCOPES: Final = frozenset(TokenScope)
# Requests with these methods change nothing (RFC 9110, section 9.2.1).
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def get_token_scope(method: str | None) -> TokenScope:
    """Return the scope that a token needs for a request with this method.

    A WebSocket has no method. It may change something, so it needs the scope `write`.
    """
    if method in SAFE_METHODS:
        return TokenScope.READ
    return TokenScope.WRITE


class InsufficientScope(Forbidden):
    """The token is valid, but it was created for other requests.

    `scope` is the scope that the operation requires, for example `write`.
    """

    type = Forbidden.type
    detail = "The access token does not have the scope that this operation requires"

    def __init__(self, scope: str) -> None:
        super().__init__(f"The access token does not have the scope {scope}")
        self.challenge = f'{Forbidden.challenge}, scope="{scope}"'
