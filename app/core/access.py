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


class Reach(StrEnum):
    """How far a permission goes: not at all, to what is one's own, to everybody's."""

    NO = "no"
    OWN = "own"
    ALL = "all"


Permission = Literal[
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
NO, OWN, ALL = Reach
# fmt: off
CALLERS: Final =      ("none", "read", "full", "member", "editor", "admin")
MAY: Final[dict[Permission, tuple[Reach, ...]]] = {
    # without a token, by ANONYMOUS_ACCESS | with one, by the role of its user
    "register":        ( ALL,    ALL,    ALL,    ALL,      ALL,      ALL ),
    "catalogue:read":  ( NO,     ALL,    ALL,    ALL,      ALL,      ALL ),
    "catalogue:write": ( NO,     NO,     ALL,    NO,       ALL,      ALL ),
    "users":           ( NO,     NO,     ALL,    OWN,      OWN,      ALL ),
    "users:list":      ( NO,     NO,     ALL,    NO,       NO,       ALL ),
    "users:role":      ( NO,     NO,     ALL,    NO,       NO,       ALL ),
    "reports:read":    ( NO,     NO,     ALL,    NO,       NO,       ALL ),
    "documents":       ( NO,     NO,     ALL,    OWN,      OWN,      ALL ),
    "oneself":         ( NO,     NO,     NO,     OWN,      OWN,      OWN ),
}
# fmt: on
# How far each permission goes for each kind of caller.
REACH: Final = {name: dict(zip(CALLERS, cells, strict=True)) for name, cells in MAY.items()}


@dataclass(frozen=True)
class Principal:
    """Who asks: the user of a token, or whoever comes without one."""

    caller: str
    user_id: int | None = None
    token_id: UUID | None = None

    def reach(self, permission: Permission) -> Reach:
        return REACH[permission][self.caller]

    def require(self, permission: Permission) -> None:
        if self.reach(permission) is NO:
            raise Unauthorized if self.user_id is None else Forbidden

    def only(self, permission: Permission) -> dict[str, int | None]:
        """The filter that keeps a permission to one's own; where nobody asks, to nothing."""
        return {} if self.reach(permission) is ALL else {"owner": self.user_id}


OPERATOR: Final = Principal("full")  # whoever has the command line has the database
