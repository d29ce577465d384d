"""Roles and permissions: one table that says what each kind of caller may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

from app.core.errors import Forbidden, Unauthorized


class Role(StrEnum):
    """What the user of a token is; a new user is a member."""

    MEMBER = "member"
    EDITOR = "editor"
    ADMIN = "admin"


class Scope(StrEnum):
    """To which rows a permission extends: to none, to the caller's own, or to all."""

    NONE = "none"
    OWN = "own"
    ALL = "all"


Permission = Literal[
    "public",
    "register",
    "catalogue:read",
    "catalogue:write",
    "users",
    "users:list",
    "users:role",
    "reports:read",
    "documents",
    "oneself",
]
NONE, OWN, ALL = Scope
# Callers without a token are named after the setting ANONYMOUS_ACCESS, callers with a token after
# the role of its user.
ANONYMOUS_CALLER_KINDS: Final = ("none", "read", "full")
CALLER_KINDS: Final = (*ANONYMOUS_CALLER_KINDS, *Role)
# A public route does not even look at the token: probes, the login, the documentation.
# fmt: off
PERMISSIONS: Final[dict[Permission, tuple[Scope, ...]]] = {
    #                    none    read    full  | member  editor  admin
    "public":          ( ALL,    ALL,    ALL,    ALL,    ALL,    ALL ),
    "register":        ( ALL,    ALL,    ALL,    ALL,    ALL,    ALL ),
    "catalogue:read":  ( NONE,   ALL,    ALL,    ALL,    ALL,    ALL ),
    "catalogue:write": ( NONE,   NONE,   ALL,    NONE,   ALL,    ALL ),
    "users":           ( NONE,   NONE,   ALL,    OWN,    OWN,    ALL ),
    "users:list":      ( NONE,   NONE,   ALL,    NONE,   NONE,   ALL ),
    "users:role":      ( NONE,   NONE,   ALL,    NONE,   NONE,   ALL ),
    "reports:read":    ( NONE,   NONE,   ALL,    NONE,   NONE,   ALL ),
    "documents":       ( NONE,   NONE,   ALL,    OWN,    OWN,    ALL ),
    "oneself":         ( NONE,   NONE,   NONE,   OWN,    OWN,    OWN ),
}
# fmt: on
_SCOPES: Final = {
    permission: dict(zip(CALLER_KINDS, scopes, strict=True))
    for permission, scopes in PERMISSIONS.items()
}


def get_scope(permission: Permission, caller: str) -> Scope:
    """Return how far a permission extends for a kind of caller, for example `member`."""
    scope: Scope = _SCOPES[permission][caller]
    return scope


@dataclass(frozen=True)
class Principal:
    """The sender of a request: the user of its token, or an anonymous caller."""

    caller_kind: str
    user_id: int | None = None
    token_id: UUID | None = None

    def scope(self, permission: Permission) -> Scope:
        """Return how far a permission extends for this principal."""
        return get_scope(permission, self.caller_kind)

    def require(self, permission: Permission) -> None:
        """Raise `Unauthorized` or `Forbidden` if the principal lacks a permission entirely."""
        if self.scope(permission) is not NONE:
            return
        if self.user_id is None:
            raise Unauthorized
        raise Forbidden

    def owner_filter(self, permission: Permission) -> dict[str, int | None]:
        """Return the filter that restricts a repository to the rows of this principal.

        For example `{"owner": 7}`, or `{}` for a principal whose permission extends to all rows.
        """
        if self.scope(permission) is ALL:
            return {}
        return {"owner": self.user_id}


# Commands run with the permissions of an admin: anyone who can run them can open the database.
CLI_PRINCIPAL: Final = Principal("full")
