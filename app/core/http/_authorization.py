"""Authentication and authorization of a request: find its principal, check its permission."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fastapi import Request

from app.core.access import CALLERS, Permission, Principal
from app.core.db import Database
from app.core.errors import InvalidToken

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
