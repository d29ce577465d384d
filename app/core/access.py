"""Who asks, and what they may: one table, and the one check that every route goes through."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeVar
from uuid import UUID

from fastapi import Request

from app.core.database import Database
from app.core.errors import Forbidden, InvalidToken, Unauthorized


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
_ANONYMOUS: Final = {caller: Principal(caller) for caller in CALLERS[:3]}
_SCOPE: Final = "bookshelf.principal"
LookUp = Callable[[Database, str], Awaitable[Principal | None]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def requires(permission: Permission | None) -> Callable[[Endpoint], Endpoint]:
    """What a route's callers must be permitted; with `None` nobody asks who they are.

    Not a dependency: one of the framework's costs a sixth of the time of a read.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.permission = permission  # type: ignore[attr-defined]
        return endpoint

    return mark


async def admit(request: Request, permission: Permission) -> None:
    """Find out who asks and whether they may; `principal` tells of it from then on."""
    found = await _principal(request)
    found.require(permission)
    request.scope[_SCOPE] = found


def principal(request: Request) -> Principal:
    found: Principal = request.scope[_SCOPE]
    return found


async def _principal(request: Request) -> Principal:
    # Read once, and not as a `Headers`: most requests have no such line.
    given = [value for name, value in request.scope["headers"] if name == b"authorization"]
    state = request.app.state
    if not any(value[:6].lower() == b"bearer" for value in given):  # Basic may be a proxy's
        return _ANONYMOUS[state.settings.anonymous_access]
    scheme, _, token = given[0].decode("latin-1").partition(" ")
    look_up: LookUp = state.look_up
    found = await look_up(state.database, token.strip(" ")) if len(given) == 1 else None
    if found is None or scheme.lower() != "bearer":
        raise InvalidToken
    return found
