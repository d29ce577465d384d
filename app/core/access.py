"""Roles and permissions: one table that states what each kind of caller may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from app.core.errors import Forbidden, Unauthorized
from app.core.token_scopes import ALL_TOKEN_SCOPES, InsufficientScope, TokenScope


class Role(StrEnum):
    """The role of a user, which determines what they may do. New users are members."""

    MEMBER = "member"
    EDITOR = "editor"
    ADMIN = "admin"


class Scope(StrEnum):
    """The rows that a permission covers: none, only those that the caller owns, or all."""

    NONE = "none"
    OWN = "own"
    ALL = "all"


Permission = Literal[
    "public",
    "register",
    "catalog:read",
    "catalog:write",
    "users",
    "users:list",
    "users:role",
    "reports:read",
    "documents",
    "own-account",
]
NONE, OWN, ALL = Scope
# A caller with a token has the kind that is the role of the token's user. A caller without a token
# has the kind that is the value of the setting ANONYMOUS_ACCESS.
ANONYMOUS_CALLER_KINDS: Final = ("none", "read", "full")
CALLER_KINDS: Final = (*ANONYMOUS_CALLER_KINDS, *Role)
# The columns are kinds of callers. A "public" route, for example the login, ignores tokens.
# fmt: off
PERMISSIONS: Final[dict[Permission, tuple[Scope, ...]]] = {
    #                    none    read    full  | member  editor  admin
    "public":          ( ALL,    ALL,    ALL,    ALL,    ALL,    ALL ),
    "register":        ( ALL,    ALL,    ALL,    ALL,    ALL,    ALL ),
    "catalog:read":    ( NONE,   ALL,    ALL,    ALL,    ALL,    ALL ),
    "catalog:write":   ( NONE,   NONE,   ALL,    NONE,   ALL,    ALL ),
    "users":           ( NONE,   NONE,   ALL,    OWN,    OWN,    ALL ),
    "users:list":      ( NONE,   NONE,   ALL,    NONE,   NONE,   ALL ),
    "users:role":      ( NONE,   NONE,   ALL,    NONE,   NONE,   ALL ),
    "reports:read":    ( NONE,   NONE,   ALL,    NONE,   NONE,   ALL ),
    "documents":       ( NONE,   NONE,   ALL,    OWN,    OWN,    ALL ),
    "own-account":     ( NONE,   NONE,   NONE,   OWN,    OWN,    OWN ),
}
# fmt: on
_SCOPES: Final = {
    permission: dict(zip(CALLER_KINDS, scopes, strict=True))
    for permission, scopes in PERMISSIONS.items()
}


def get_scope(permission: Permission, caller_kind: str) -> Scope:
    """Return which rows a permission covers for a kind of caller.

    For example, `get_scope("documents", "member")` is `Scope.OWN`: members may access the documents
    that they own.
    """
    scope: Scope = _SCOPES[permission][caller_kind]
    return scope


@dataclass(frozen=True)
class Principal:
    """The sender of a request, whose permissions are checked: a user or an anonymous caller.

    Args:
        caller_kind: The role of the user, for example `member`. For an anonymous caller, the value
            of the setting ANONYMOUS_ACCESS, for example `read`.
        user_id: The id of the user, or None for an anonymous caller.
        token_id: The id of the access token, or None for an anonymous caller.
        token_scopes: The scopes of the access token. They do not restrict an anonymous caller.
    """

    caller_kind: str
    user_id: int | None = None
    token_id: UUID | None = None
    token_scopes: frozenset[TokenScope] = ALL_TOKEN_SCOPES

    def scope(self, permission: Permission) -> Scope:
        """Return the rows that a permission covers for this principal: none, their own, or all."""
        return get_scope(permission, self.caller_kind)

    def require(self, permission: Permission) -> None:
        """Check that this principal has a permission, for at least some rows.

        Raises `Unauthorized` if an anonymous caller lacks the permission, because a token may grant
        it, and `Forbidden` if a user lacks it.
        """
        if self.scope(permission) is not NONE:
            return
        if self.user_id is None:
            raise Unauthorized
        raise Forbidden

    def require_token_scope(self, token_scope: TokenScope) -> None:
        """Raise `InsufficientScope` if the access token of this principal does not have a scope."""
        if token_scope not in self.token_scopes:
            raise InsufficientScope(token_scope)

    def owner_filter(self, permission: Permission) -> dict[str, int | None]:
        """Return the filter that restricts a repository to the rows that this principal may access.

        For user 7, returns `{"owner": 7}` if the permission covers only the rows that the user
        owns, and an empty dict if it covers all rows. Use it in this way:

            DocumentRepository(session, principal.owner_filter("documents"))
        """
        if self.scope(permission) is ALL:
            return {}
        return {"owner": self.user_id}


# Commands may read and write all rows, because anyone who can run them can access the database.
CLI_PRINCIPAL: Final = Principal("full")
